<?php
// Answers the questions that peers/programs.py describes, by PHP's memcached extension.
// Usage: get_server_by_key.php LIBKETAMA_COMPATIBLE|DISTRIBUTION_CONSISTENT [HASH]
[, $mode] = $argv;
$client = null;
$servers = [];
$in_keys = false;

function new_client(string $mode, ?string $hash): Memcached
{
    $client = new Memcached();
    $client->setOptions(match ($mode) {
        'LIBKETAMA_COMPATIBLE' => [Memcached::OPT_LIBKETAMA_COMPATIBLE => true],
        'DISTRIBUTION_CONSISTENT' => [Memcached::OPT_DISTRIBUTION => Memcached::DISTRIBUTION_CONSISTENT],
    });
    if ($hash !== null) {
        $client->setOption(Memcached::OPT_HASH, constant("Memcached::HASH_$hash"));
    }
    return $client;
}

while (($line = fgets(STDIN)) !== false) {
    $line = substr($line, 0, -1);
    if ($line === '') {
        if (!$in_keys) {
            $client = new_client($mode, $argv[2] ?? null);
            $client->addServers($servers);
            $places = [];
            foreach ($servers as $place => [$host, $port]) {
                $places["$host $port"] = $place;
            }
        }
        $servers = [];
        $in_keys = !$in_keys;
    } elseif ($in_keys) {
        $found = $client->getServerByKey($line);
        if ($found === false) {
            exit($client->getResultMessage() . ": $line\n");
        }
        echo $places["$found[host] $found[port]"], "\n";
    } else {
        [$host, $port, $weight] = explode("\t", $line);
        $servers[] = [$host, (int) $port, (int) $weight];
    }
}
