<?php
/*
 * lookup.php - where does each key live? For PHP 7.4 and newer, with the extension ffi.
 *
 *     php lookup.php /etc/ketama.servers <keys
 *
 * Reads a key a line, and prints key, point and address, with tabs between them. The
 * continuum is in shared memory: the first program on the machine that opens the server
 * file builds it, and all others, in Python or whatever language, attach to it.
 */
declare(strict_types=1);

final class Continuum
{
    // From ketama.h, the manual. ketama_roll, ketama_get_server and ketama_smoke are there too,
    // for code that has them: with those a key ends at a NUL, and an address at 21 bytes.
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
    private FFI\CData $handle; // one version of the file, ours until ketama_close()

    /** @throws RuntimeException naming file, line and reason */
    public function __construct(string $path)
    {
        $this->lib = FFI::cdef(self::HEADER, getenv('KETAMA_LIBRARY') ?: 'libketama.so.1');
        $this->handle = $this->lib->new('ketama_continuum');
        if ($this->lib->ketama_open(FFI::addr($this->handle), $path, null) < 0) {
            throw new RuntimeException($this->lib->ketama_error()); // and so no __destruct()
        }
    }

    private function __clone() // two owners would close the one handle twice
    {
    }

    public function __destruct()
    {
        $this->lib->ketama_close($this->handle);
    }

    /** Takes up the file as it is now, by a stat(2) as a rule. A wrong one changes nothing. */
    public function refresh(): void
    {
        $newer = $this->lib->new('ketama_continuum');
        $status = $this->lib->ketama_refresh($this->handle, FFI::addr($newer));
        if ($status === $this->lib->KETAMA_CHANGED) {
            $this->lib->ketama_close($this->handle);
            $this->handle = $newer;
        }
    }

    /** The point that a key (any bytes; text as UTF-8) meets, and its server's address. */
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
    $continuum->refresh(); // in a web application: once a request
    echo $key, "\t", implode("\t", $continuum->find($key)), "\n";
}
