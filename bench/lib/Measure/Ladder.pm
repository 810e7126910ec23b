package Measure::Ladder;

# Copyright (C) nginx-livestream contributors
#
# What the default ladder costs: CPU against one ffmpeg command line that
# decodes, scales and encodes the same with the same settings, and memory.
# ffmpeg has neither to receive, nor to package, nor to be in time; it is also
# run with one thread a codec, as we do, which is cheaper where nothing else
# wants the processor.
#
# BENCH_SECONDS (20), BENCH_ROUNDS (3)

use v5.28;
use warnings;

use Time::HiRes qw(sleep time);

use Measure qw(cpu memory median option row say_so programs);

my @ladder = (
    { name => '1080p', size => '1920:1080', bitrate => 5000 },
    { name => '720p', size => '1280:720', bitrate => 2800 },
    { name => '480p', size => '854:480', bitrate => 1400 },
    { name => '360p', size => '640:360', bitrate => 800 },
    { name => '240p', size => '426:240', bitrate => 400 },
);

# as the module opens libx264
my @encoder = (
    '-c:v', 'libx264', '-preset', 'veryfast', '-bf', 0, '-g', 60,
    '-rc-lookahead', 0, '-mbtree', 0,
    '-x264-params', 'sync-lookahead=0:force-cfr=1:scenecut=0',
);


sub run { map { measure($_) } qw(1280x720 1920x1080) }


sub measure {
    my ($size) = @_;

    my ($height) = $size =~ /x(\d+)/;
    my (@ours, @ffmpeg, @single, @memory);

    for (1 .. option(ROUNDS => 3)) {
        my ($cpu, $memory, $clip) = transcode($size);
        my @theirs = map { ffmpeg($clip, $height, $_) } 0, 1;

        say_so(sprintf '%dp30: %.3f CPU s a stream second, %.0f MiB; ffmpeg '
               . '%.3f, with one thread a codec %.3f', $height, $cpu, $memory,
               @theirs);

        push @ours, $cpu;
        push @memory, $memory;
        push @ffmpeg, $theirs[0];
        push @single, $theirs[1];
    }

    my ($ours, $ffmpeg, $single, $memory)
        = map { median(@$_) } \@ours, \@ffmpeg, \@single, \@memory;

    return (
        row("ladder of ${height}p30: CPU s a stream second, to ffmpeg's",
            sprintf('%.2f (%.3f / %.3f)', $ours / $ffmpeg, $ours, $ffmpeg),
            '<= 0.90', $ours <= $ffmpeg * 0.9),
        row('  to ffmpeg\'s with one thread a codec',
            sprintf('%.2f (%.3f)', $ours / $single, $single), '<= 0.90',
            $ours <= $single * 0.9),
        row('  memory', sprintf('%.0f MiB', $memory),
            $height == 1080 ? '350 MiB' : '',
            $height == 1080 ? $memory <= 350 : undef),
    );
}


# noise, so that the bitrates are needed
sub clip {
    my ($server, $size) = @_;

    return programs($server)->clip(
        size => $size, seconds => 8, gop => 2,
        video => ['libx264', '-vf', 'noise=alls=8:allf=t', '-preset',
                  'veryfast', '-b:v', '6M', '-bf', 2],
        audio => ['aac', '-b:a', '128k']);
}


# CPU seconds a second of the stream, MiB that it takes, the clip
sub transcode {
    my ($size) = @_;

    my $seconds = option(SECONDS => 20);
    my $server = Measure->server(workers => 1, livestream => 'transcode on;');
    my $clip = clip($server, $size);
    my $stream = $server->create(title => 'Ladder');
    my $before = memory($server);

    my $p = programs($server)->publish($stream, $clip, '--loop');

    $server->wait_live($stream) or die "it does not go live\n";
    sleep 4;

    my $from = time;
    my $cpu = cpu($server);

    sleep $seconds;

    $cpu = (cpu($server) - $cpu) / (time() - $from);
    my $memory = (memory($server) - $before) / 1024 / 1024;

    $server->log =~ /quality_changed/ and die "the machine is too slow\n";

    $p->stop;
    $server->end;

    return ($cpu, $memory, $clip);
}


# CPU seconds a second of the clip
sub ffmpeg {
    my ($clip, $height, $single) = @_;

    my @rungs = grep { $_->{size} =~ /:(\d+)/ && $1 <= $height } @ladder;
    my $n = @rungs;
    my $seconds = option(SECONDS => 20);

    my $graph = join ';', "[0:v]split=$n" . join('', map { "[s$_]" } 1 .. $n),
        map { "[s$_]scale=$rungs[$_ - 1]{size}\[v$_]" } 1 .. $n;

    my @threads = $single ? ('-threads', 1) : ();

    my @argv = ('ffmpeg', '-v', 'error', '-nostdin',
        $single ? ('-filter_complex_threads', 1) : (),
        @threads, '-stream_loop', -1, '-i', $clip, '-t', $seconds,
        '-filter_complex', $graph);

    for my $i (1 .. $n) {
        my $k = $rungs[$i - 1]{bitrate} . 'k';

        push @argv, '-map', "[v$i]", @encoder, @threads, '-b:v', $k,
            '-maxrate', $k, '-bufsize', $k, '-t', $seconds, '-f', 'null', '-';
    }

    my @before = times;

    system(@argv) == 0 or die "ffmpeg failed\n";

    my @after = times;

    return ($after[2] + $after[3] - $before[2] - $before[3]) / $seconds;
}


1;
