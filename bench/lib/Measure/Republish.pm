package Measure::Republish;

# Copyright (C) nginx-livestream contributors
#
# Publish, cut the connection, publish again, a thousand times: what is there
# after the first hundred must not grow.
#
# BENCH_REPUBLISH (1000)

use v5.28;
use warnings;

use Time::HiRes qw(sleep);

use Measure qw(memory descriptors files zone option row say_so programs);

use constant KEYS => 4;


sub run {
    my $n = option(REPUBLISH => 1000);
    my $server = Measure->server(workers => 2, livestream =>
        'segment_duration 1s; playlist_length 3; reconnect_window 3s;');

    my @keys = map { $server->create(title => "Stream $_")->{stream_key} }
               1 .. KEYS;

    Livestream::Test::write_file("$server->{dir}/keys",
                                 join '', map { "$_\n" } @keys);

    my $first = used($server, $n / 10);
    my $last = used($server, $n - $n / 10);

    $server->end;

    return map {
        my ($what, $unit, $slack) = @$_;
        my ($x, $y) = map { $_->{$what} } $first, $last;
        my $format = $unit ? '%.1f' : '%d';

        row("$n times published and cut: $what",
            sprintf("$format%s, then $format%s", $x, $unit, $y, $unit),
            'no growth', $y <= $x + $slack)
    } (['memory', ' MiB', 1], ['zone', ' MiB', 0.05], ['descriptors', '', 0],
       ['files', '', 0]);
}


# What is used once that many publishers have come and gone.
sub used {
    my ($server, $times) = @_;

    say_so("published and cut $times times");

    my $p = programs($server)->publish('', programs($server)->clip(
        seconds => 8, video => ['libx264', '-preset', 'veryfast'],
        audio => ['aac']), '--key-file', "$server->{dir}/keys",
        '--speed', 10, '--cut-after', 2200, '--pause', 20,
        '--repeat', int($times / KEYS));

    defined $p->wait(600) or die "the publisher hangs\n";
    my ($published) = $p->output =~ /total .*published=(\d+)/;

    die "published only @{[ $published // 0 ]} times:\n",
        substr($p->output, -2000)
        if ($published // 0) < 0.99 * KEYS * int($times / KEYS);

    # until the streams have ended and were forgotten, with their media
    say_so('until their media has gone');
    Livestream::Test::wait_for(sub { sleep 0.5; files($server) == 0 }, 150);

    return {
        memory => memory($server) / 1024 / 1024,
        zone => zone($server) / 1024 / 1024,
        descriptors => descriptors($server),
        files => files($server),
    };
}


1;
