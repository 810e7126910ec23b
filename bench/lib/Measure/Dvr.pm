package Measure::Dvr;

# Copyright (C) nginx-livestream contributors
#
# What it costs to rewind: CPU of publishers with DVR on and off, in turns; the
# zone that a window of two hours takes; the CPU of a request for its playlist,
# rendered or not.
#
# BENCH_PUBLISHERS (50), BENCH_SECONDS (20), BENCH_ROUNDS (3)

use v5.28;
use warnings;

use Time::HiRes qw(time);

use Measure qw(median option row say_so viewers zone);
use Measure::Publishers;

# until all of the rings was written to, which are larger than the window
use constant { HOURS => 3.6, STATES => 30 };

my @tracks = qw(source audio 72p 54p 36p);
my $window = 'dvr on; default_dvr_window 2h; segment_duration 6s;';
my $ladder = 'transcode on; video_preset ultrafast; rung 72p 128x72 50k;
              rung 54p 96x54 40k; rung 36p 64x36 30k;';


sub run { (publishers(), window()) }


sub publishers {
    my $n = option(PUBLISHERS => 50);
    my (%cpu, @ratios);

    for (1 .. option(ROUNDS => 3)) {
        for my $dvr (qw(off on)) {
            my ($cpu) = Measure::Publishers::publishers($n,
                                                livestream => "dvr $dvr;");

            say_so(sprintf '%d publishers, DVR %s: %.3f CPU s a stream minute',
                   $n, $dvr, $cpu);
            push @{ $cpu{$dvr} }, $cpu;
        }
    }

    my ($on, $off) = map { median(@{ $cpu{$_} }) } qw(on off);

    return row("$n publishers of 720p: CPU with DVR, to without",
               sprintf('%.2f (%.3f / %.3f s a stream minute)', $on / $off,
                       $on, $off),
               '<= 1.05', $on <= 1.05 * $off);
}


sub window {
    my $server = Measure->server(workers => 1,
                                 livestream => $window . $ladder);
    my $stream = $server->create(title => 'Two hours');
    my $before = zone($server);

    say_so('a stream of five tracks until its window is full');

    my $p = $server->publish_fast($stream, seconds => HOURS * 3600,
        track => '36p', clip => { size => '128x72' },
        args => ['--lead', 1500]);

    my $zone = (zone($server) - $before) / 1024 / 1024;
    my %size = map {
        my $m = $server->playlist($stream, 'source', $_);
        $_ => length $m->{text};
    } '', '_HLS_skip=YES';

    my @rows = (
        row('two hours of five tracks: shared memory',
            sprintf('%.2f MiB', $zone), '4 MiB', $zone <= 4),
        row('  a delta, to the full playlist',
            sprintf('%.1f %% (%d / %d bytes)', 100 * $size{'_HLS_skip=YES'}
                    / $size{''}, $size{'_HLS_skip=YES'}, $size{''}), '3 %',
            $size{'_HLS_skip=YES'} <= 0.03 * $size{''}),
        served($server, $stream),
        rendered($server, $stream),
    );

    $p->stop;
    $server->end;

    return @rows;
}


# The publisher is held, so that nothing is rendered meanwhile.
sub served {
    my ($server, $stream) = @_;

    my @rows;

    for (['full playlist', '', 2], ['  with gzip', '', 2, 1],
         ['  delta', '?_HLS_skip=YES', 0.2],
         ['  delta with gzip', '?_HLS_skip=YES', 0.2, 1])
    {
        my ($what, $query, $bound, $gzip) = @$_;
        my $url = $server->url($stream, 'source', 'playlist.m3u8') . $query;

        say_so("$what, again and again");
        $_->freeze for @{ $server->{publishers} };

        my $cpu = spent($server);
        my $seen = viewers($server, undef, '--mode', 'get', '--viewers', 8,
                           '--seconds', 3, $gzip ? () : '--no-gzip', $url);

        $cpu = 1000 * (spent($server) - $cpu) / $seen->{answers};
        $_->thaw for @{ $server->{publishers} };

        push @rows, row($what =~ /^ / ? $what : "$what: CPU of a request",
                        sprintf('%.3f ms (%d bytes)', $cpu, $seen->{size}),
                        "$bound ms", $cpu <= $bound);
    }

    return @rows;
}


# One reload for each new part, rendered and perhaps packed for that one alone,
# less the event loop's other work in that time.
sub rendered {
    my ($server, $stream) = @_;

    my $rest = states($server, $stream, undef);

    return map {
        my ($what, $query, @headers) = @$_;

        say_so("$what, anew for each part");

        row("  $what, of a viewer whom nobody is with, for each part",
            sprintf('%.2f ms', states($server, $stream, $query, @headers)
                               - $rest));
    } ['full playlist', ''], ['full playlist, gzip', '', 'gzip'],
      ['delta', '&_HLS_skip=YES'];
}


# Milliseconds of CPU for each of so many parts.
sub states {
    my ($server, $stream, $query, $encoding) = @_;

    my $client = $server->client(timeout => 25);
    my $path = $server->path($stream, 'audio', 'playlist.m3u8');
    my $m = $server->playlist($stream, 'audio');
    my ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });
    my $cpu = spent($server);

    for (1 .. STATES) {
        if (!defined $query) {
            Time::HiRes::sleep($m->{part_inf}{'PART-TARGET'});
            next;
        }

        my $r = $client->request(GET =>
            "$path?_HLS_msn=$msn&_HLS_part=$part$query",
            headers => $encoding ? { 'Accept-Encoding' => $encoding } : {});

        die "$path: $r->{status}\n" unless $r->{status} == 200;

        $m = Livestream::Test::M3U8->parse($r->content, $r);
        ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });
    }

    return 1000 * (spent($server) - $cpu) / STATES;
}


# Seconds of CPU of the event loop, to the nanosecond.
sub spent {
    my ($server) = @_;

    my ($worker) = $server->workers;
    my ($ns) = split ' ', Livestream::Test::read_file(
        "/proc/$worker/task/$worker/schedstat");

    return $ns / 1e9;
}


1;
