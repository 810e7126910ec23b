package Measure::Convert;

# Copyright (C) nginx-livestream contributors
#
# A recording as one MP4 file, against ffmpeg on the same segments: both in
# turns, and the median of each.  What counts is the time on the wall, so
# nothing else should be running.
#
# BENCH_RECORDING (60, minutes), BENCH_ROUNDS (3)

use v5.28;
use warnings;

use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use Time::HiRes qw(time);

use Measure qw(median option row say_so);


sub run {
    my $build = abs_path($ENV{TEST_NGINX_BUILD} || 'build');
    my $minutes = option(RECORDING => 60);
    my $b = Livestream::Bench->new({ build => $build });
    my $dir = tempdir('convert-XXXXXX', DIR => $build, CLEANUP => 1);

    # as many frames of audio as fit, and four segments
    my $clip = $b->clip(
        size => '1280x720', seconds => 24, gop => 2,
        picture => 'testsrc2=size=1280x720:rate=30,noise=alls=20:allf=t',
        video => ['libx264', '-preset', 'ultrafast', '-b:v', '5000k',
                  '-minrate', '5000k', '-maxrate', '5000k',
                  '-bufsize', '5000k', '-x264-params', 'nal-hrd=cbr',
                  '-bf', 2],
        audio => ['aac', '-b:a', '128k']);

    mkdir "$dir/recording" or die "$dir/recording: $!\n";

    command("$b->{dir}/convert", 'make', $clip, "$dir/recording",
            $minutes * 60);

    my @ours = ("$b->{dir}/convert", 'run', "$dir/recording",
                "$dir/ours.mp4");
    my @ffmpegs = ('ffmpeg', '-v', 'error', '-y',
                   (map { ('-i', "$dir/recording/$_/playlist.m3u8") }
                    qw(source audio)),
                   '-c', 'copy', '-movflags', '+faststart',
                   "$dir/ffmpegs.mp4");
    my (@us, @them);

    for (1 .. option(ROUNDS => 3)) {
        unlink "$dir/ours.mp4", "$dir/ffmpegs.mp4";

        push @them, command(@ffmpegs);
        push @us, command(@ours);

        say_so(sprintf 'ffmpeg %.2f s, we %.2f s', $them[-1], $us[-1]);
    }

    my $ratio = median(@us) / median(@them);

    return (
        row("a recording of $minutes min at 5 Mbit/s as MP4: our time, to "
            . 'ffmpeg\'s', sprintf('%.2f', $ratio), '<= 1.2', $ratio <= 1.2),
        row('  its size', sprintf('%.0f MB', (-s "$dir/ours.mp4") / 1e6)),
        row('  our time', sprintf('%.1f s', median(@us))),
    );
}


# Runs it; the seconds that it took, with all that was written before it out
# of its way.
sub command {
    my (@argv) = @_;

    system 'sync';

    my $from = time;
    system(@argv) == 0 or die "$argv[0] failed\n";

    return time() - $from;
}


1;
