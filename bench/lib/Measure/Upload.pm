package Measure::Upload;

# Copyright (C) nginx-livestream contributors
#
# What it costs to bring recordings to S3: 20 streams of 5 Mbit/s, a segment of
# 6 s each, to a server on this machine that checks every signature and sum, by
# the engine without nginx around it.

use v5.28;
use warnings;

use File::Temp qw(tempdir);
use List::Util qw(max);
use Time::HiRes qw(sleep time);

use Livestream::Test::S3;
use Livestream::Test::S3::Client;
use Measure qw(row say_so option median);

use constant {
    STREAMS => 20,
    SEGMENT => 6,                       # s
    SIZE    => 5_000_000 / 8 * 6,       # bytes
};


sub run {
    my $build = $ENV{TEST_NGINX_BUILD} || 'build';
    my $path = Cwd::abs_path($build);

    system('make', '-s', '-C', 't/unit', "BUILD=$path/unit",
           "$path/unit/s3_client") == 0
        or die "t/unit/s3_client can't be built\n";

    my $dir = tempdir('livestream-upload-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $s3 = Livestream::Test::S3->new("$dir/s3");
    my $c = Livestream::Test::S3::Client->new($s3);
    my $file = "$dir/segment.m4s";

    Livestream::Test::write_file($file, join '', map { pack 'N', rand 2 ** 32 }
                                 1 .. SIZE / 4);

    put($c, 'first', $file);

    return (paced($c, $file), flat_out($c, $file));
}


sub put {
    my ($c, $key, $file) = @_;

    my $r = $c->put($key, $file);
    die "$key: $r->{text}\n" unless $r->{rc} eq 'ok';
}


# each stream's segment as it would close, one after the other
sub paced {
    my ($c, $file) = @_;

    my $n = int(option(SECONDS => 60) / SEGMENT) * STREAMS;
    my ($before, $start) = ($c->usage, time());
    my (%begun, %took);

    for my $i (0 .. $n - 1) {
        my $left = $start + $i * SEGMENT / STREAMS - time();

        sleep $left if $left > 0;
        $begun{ $c->begin(put => "paced/segment-$i.m4s", $file) } = time();
        look($c, \%begun, \%took, 0);
    }

    my $late = keys %begun;
    look($c, \%begun, \%took, 60);

    my $cpu = 100 * ($c->usage - $before) / ($n * SEGMENT / STREAMS);

    return (
        row(STREAMS . ' streams of 5 Mbit/s to S3: CPU, % of a core',
            sprintf('%.1f', $cpu), '< 10', $cpu < 10),
        row('  segments that were not there when the next had closed',
            max($late - STREAMS, 0), '0', $late <= STREAMS),
        row('  until a segment is stored and confirmed, median, longest',
            sprintf('%.0f ms, %.0f ms', 1000 * median(values %took),
                    1000 * max(values %took))),
    );
}


# takes in what has ended
sub look {
    my ($c, $begun, $took, $seconds) = @_;

    for my $id (sort { $a <=> $b } keys %$begun) {
        my $r = $c->end($id, $seconds) or next;

        die "$id: $r->{text}\n" unless $r->{rc} eq 'ok';
        $took->{$id} = time() - delete $begun->{$id};
    }
}


sub flat_out {
    my ($c, $file) = @_;

    my $start = time();
    my @ids = map { $c->begin(put => "fast/segment-$_.m4s", $file) } 1 .. 100;

    for (@ids) {
        my $r = $c->end($_) // die "segments are not stored within a minute\n";
        die "$r->{text}\n" unless $r->{rc} eq 'ok';
    }

    return row('  as fast as it goes, to a server on the same cores',
               sprintf('%.0f Mbit/s', 8 * SIZE * @ids / 1e6
                                      / (time() - $start)));
}


1;
