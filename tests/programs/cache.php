<?php
// A worker that uses the servers of a server file by PHP's memcached extension, and follows the
// file. For each line on standard input, "fill N" or "read N", it stores or reads N keys, and
// prints how many are there.
// Usage: cache.php FILE

class Pool
{
    private ?Memcached $client = null;
    private array $seen = [];

    public function __construct(private string $file)
    {
    }

    public function client(): Memcached
    {
        clearstatcache();
        $status = stat($this->file);
        $now = [$status['ino'], $status['mtime'], $status['size']];
        if ($now !== $this->seen) {
            $this->client = new Memcached();
            $this->client->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
            $this->client->addServers($this->servers());
            $this->seen = $now;
        }
        return $this->client;
    }

    private function servers(): array
    {
        $servers = [];
        foreach (file($this->file, FILE_IGNORE_NEW_LINES) as $line) {
            [$line] = explode('#', $line);
            if (trim($line) !== '') {
                [$address, $weight] = preg_split('/\s+/', trim($line));
                [$host, $port] = explode(':', $address);
                $servers[] = [$host, (int) $port, (int) $weight];
            }
        }
        return $servers;
    }
}

$pool = new Pool($argv[1]);
while (($line = fgets(STDIN)) !== false) {
    [$what, $count] = explode(' ', trim($line));
    $values = [];
    for ($i = 0; $i < $count; $i++) {
        $values["php$i"] = $i;
    }
    $client = $pool->client();
    if ($what === 'fill') {
        $client->setMulti($values);
    }
    $found = $client->getMulti(array_keys($values));
    if ($found === false) {
        exit($client->getResultMessage() . "\n");
    }
    foreach ($found as $key => $value) {
        if ($value !== $values[$key]) {
            exit("$key is $value\n");
        }
    }
    echo count($found), "\n";
}
