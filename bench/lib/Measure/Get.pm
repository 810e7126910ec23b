package Measure::Get;

# Copyright (C) nginx-livestream contributors
#
# Requests a second for a part and for a playlist, against a static file of the
# same bytes from the same nginx, in turns.  One worker, so that it is nginx
# that is at its limit and not the load generator.
#
# BENCH_ROUNDS (3), BENCH_CONNECTIONS (32)

use v5.28;
use warnings;

use Measure qw(cpu median option viewers row say_so programs clip720);


sub run {
    my $server = Measure->server(workers => 1);
    my $stream = $server->create(title => 'Asked for');

    programs($server)->publish($stream, clip720($server), '--loop');
    $server->wait_live($stream, 'source', 30) or die "not live\n";

    # the second segment is open and has parts by then
    my $m = Livestream::Test::wait_for(sub {
        my $m = $server->playlist($stream);
        $m && $m->{open}{msn} > $m->{msn} && @{ $m->{open}{parts} } > 1 && $m;
    }, 20) or die "no parts\n";

    my @rows;

    push @rows, compare($server, 'part', 0.8,
        $server->path($stream, 'source', $m->{open}{parts}[0]{URI}));
    push @rows, compare($server, 'playlist', 0.7,
        $server->path($stream, 'source', 'playlist.m3u8'));
    push @rows, compare($server, 'playlist, gzip', 0.7,
        $server->path($stream, 'source', 'playlist.m3u8'), 'gzip');

    $server->end;

    return @rows;
}


sub compare {
    my ($server, $what, $bound, $path, $gzip) = @_;

    my $r = $server->get($path,
        headers => $gzip ? { 'Accept-Encoding' => 'gzip' } : {});
    die "$path: $r->{status}\n" unless $r->{status} == 200;

    my $static = '/static/' . $what =~ s/\W+/-/gr;
    Livestream::Test::write_file("$server->{dir}$static", $r->{body});

    say_so("$what of @{[ length $r->{body} ]} bytes and a static file");

    my %rate = (ours => [], static => []);
    my %cost = (ours => [], static => []);

    for (1 .. option(ROUNDS => 3)) {
        for (['ours', $path], ['static', $static]) {
            my ($which, $url) = @$_;
            my $cpu = cpu($server);
            my $seen = viewers($server, undef, '--mode', 'get', '--viewers',
                option(CONNECTIONS => 32), '--seconds', 3,
                $gzip ? () : '--no-gzip',
                "http://127.0.0.1:$server->{http}$url");

            die "errors from $url\n" if $seen->{errors} || $seen->{failed};

            push @{ $rate{$which} }, $seen->{per_second};
            push @{ $cost{$which} },
                1e6 * (cpu($server) - $cpu) / $seen->{answers};
        }
    }

    my ($ours, $theirs) = map { median(@{ $rate{$_} }) } qw(ours static);

    return (
        row("GET of a $what: requests a second, to a static file's",
            sprintf('%.2f (%.0f / %.0f)', $ours / $theirs, $ours, $theirs),
            ">= $bound", $ours >= $bound * $theirs),
        row('  CPU of nginx for one request',
            sprintf('%.1f us, %.1f us', map { median(@{ $cost{$_} }) }
                                            qw(ours static))),
    );
}


1;
