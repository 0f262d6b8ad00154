<?php
/*
 * lookup.php - print the server of each key. For PHP 7.4 and newer, with the ffi extension.
 *
 *     php lookup.php /etc/ketama.servers <keys
 *
 * Reads keys, one per line, and prints key, point and address, separated by tabs. The
 * continuum is in shared memory: the first program of a user that opens the server file
 * builds it, and all others, in whatever language, attach to it.
 */
declare(strict_types=1);

final class Continuum
{
    // From ketama.h, the manual. Existing code may go on using ketama_roll, ketama_get_server
    // and ketama_smoke: their keys end at a NUL, and addresses are limited to 21 bytes.
    private const HEADER = <<<'C'
        typedef struct ketama_handle *ketama_continuum;
        typedef struct {
            const char *address; const char *name; uint64_t weight; uint64_t share; uint32_t points;
        } ketama_server;
        enum ketama_status { KETAMA_OK = 0, KETAMA_CHANGED = 1 };
        int ketama_open(ketama_continuum *c, const char *path, const void *options);
        int ketama_refresh(ketama_continuum c, ketama_continuum *newer);
        void ketama_close(ketama_continuum c);
        uint32_t ketama_find(ketama_continuum c, const char *key, size_t len, uint32_t *point);
        int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server);
        const char *ketama_error(void);
        C;
    private FFI $lib;
    private FFI\CData $handle; // one version of the file; we must close it

    /** @throws RuntimeException with file, line and reason */
    public function __construct(string $path)
    {
        $this->lib = FFI::cdef(self::HEADER, getenv('KETAMA_LIBRARY') ?: 'libketama.so.1');
        $this->handle = $this->lib->new('ketama_continuum');
        if ($this->lib->ketama_open(FFI::addr($this->handle), $path, null) < 0) {
            throw new RuntimeException($this->lib->ketama_error()); // without a __destruct()
        }
    }

    private function __clone() // two owners would close one handle twice
    {
    }

    public function __destruct()
    {
        $this->lib->ketama_close($this->handle);
    }

    /** Reloads the file if it has changed: usually one stat(2). Ignores an invalid file. */
    public function refresh(): void
    {
        $newer = $this->lib->new('ketama_continuum');
        $status = $this->lib->ketama_refresh($this->handle, FFI::addr($newer));
        if ($status === $this->lib->KETAMA_CHANGED) {
            $this->lib->ketama_close($this->handle);
            $this->handle = $newer;
        }
    }

    /** Returns the point and the server's address of a key (any bytes; text as UTF-8). */
    public function find(string $key): array
    {
        [$point, $server] = [$this->lib->new('uint32_t'), $this->lib->new('ketama_server')];
        $index = $this->lib->ketama_find($this->handle, $key, strlen($key), FFI::addr($point));
        $this->lib->ketama_server_at($this->handle, $index, FFI::addr($server));
        return [$point->cdata, $server->address];
    }
}

if ($argc !== 2) {
    fwrite(STDERR, "usage: php lookup.php SERVERFILE\n");
    exit(2);
}
try {
    $continuum = new Continuum($argv[1]);
} catch (RuntimeException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
while (($line = fgets(STDIN)) !== false) {
    $key = preg_replace('/\n\z/', '', $line);
    $continuum->refresh(); // in a web application: once per request
    echo $key, "\t", implode("\t", $continuum->find($key)), "\n";
}
