# Answers the questions that peers/programs.py describes, by Cache::Memcached::Fast. Each server
# has to answer get with its own address.
# Usage: memcached_fast.pl KETAMA_POINTS
use strict;
use warnings;
use Cache::Memcached::Fast;

$/ = "\n\n";
while (defined(my $servers = <STDIN>)) {
    chomp $servers;
    chomp(my $keys = <STDIN>);
    my (@servers, %places);
    for (split /\n/, $servers) {
        my ($host, $port, $weight) = split /\t/;
        my $address = $host =~ m{^/} ? $host : "$host:$port";
        $places{$address} = @servers;
        push @servers, {address => $address, weight => $weight, noreply => 0};
    }
    my $client = Cache::Memcached::Fast->new(
        {servers => \@servers, ketama_points => $ARGV[0], io_timeout => 300});
    my @keys = split /\n/, $keys;
    while (my @some = splice @keys, 0, 1000) {
        my $found = $client->get_multi(@some);
        print $places{$found->{$_}}, "\n" for @some;
    }
}
