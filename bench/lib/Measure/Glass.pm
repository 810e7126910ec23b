package Measure::Glass;

# Copyright (C) nginx-livestream contributors
#
# How old a picture is when it is seen (bench/glass.mjs), with a server of its
# own.

use v5.28;
use warnings;

use JSON::PP;

use Measure qw(option row say_so);


sub run {
    my $server = Measure->server(workers => 2);
    my $json = "$server->{dir}/glass.json";
    my $seconds = option(SECONDS => 60);

    my $rc = system('node', 'bench/glass.mjs', '--server',
                    "http://127.0.0.1:$server->{http}", '--json', $json,
                    '--seconds', $seconds);

    $server->end;
    die "bench/glass.mjs failed\n" if $rc;

    my ($plain, $catching) = @{ decode_json(
        Livestream::Test::read_file($json))->{results} };

    return (
        age($plain, 2.5, 3.0),
        row('  first frame after the page was opened, median',
            sprintf('%.2f s', $plain->{firstFrame}), '1.0 s',
            $plain->{firstFrame} <= 1),
        row(sprintf('  stalls in %.0f s', $plain->{seconds}),
            $plain->{stalls}, 'none', !$plain->{stalls}),
        age($catching, 2.0),
    );
}


sub age {
    my ($r, $median, $p95) = @_;

    return (
        row("glass to glass, $r->{name}: median",
            sprintf('%.2f s', $r->{median}), "$median s",
            $r->{median} <= $median),
        row('  p95', sprintf('%.2f s', $r->{p95}), $p95 ? "$p95 s" : '',
            $p95 ? $r->{p95} <= $p95 : undef),
    );
}


1;
