package Livestream::Test::Media;

# Copyright (C) nginx-livestream contributors
#
# What the segments of a track really hold: read from the bytes that a viewer
# gets, whatever a playlist says of them.
#
#     my $m = Livestream::Test::Media->new($t, $stream, '720p', 3 .. 12);
#     is_deeply([$m->faults], [], 'the segments are what they should be');
#     is($m->{codecs}, $variant->{CODECS}, 'CODECS is in the bitstream');
#
# new(): of the segments that are named by their media sequence numbers, or of
# all that the playlist lists but gaps.  Dies when one of them is not there.
#
#   {track} {kind}        video, audio
#   {name}                as ffmpeg calls the codec
#   {codecs}              the CODECS string, from the bitstream's own headers
#   {boxed}               the same from the configuration box
#   {width} {height}      of the sample entry
#   {timescale}
#   {segments}            [{ msn, dsn, uri, map, listed (EXTINF), pdt,
#                            dts, pts (of the first sample), duration, bytes,
#                            samples }, ...]
#   sample                { dts, pts, duration, size, key (the container says
#                           that decoding can start), idr (the bitstream says
#                           so), digest (SHA-1 of its bytes) }
#
# Times are seconds on the stream's timeline.
#
#   part(@msns)           only these segments of it
#   samples()             of all segments
#   idrs()                their key frames
#   bitrate()             bit/s over all segments; peak() of the busiest one
#   faults()              what is wrong with them: samples that do not join,
#                         segments that do not open with a key frame, key flags
#                         that lie, GOPs that are not closed
#   file()                the path of an MP4 file with all of it
#   stream()              what ffprobe says of that file's only stream
#   complaints()          of ffmpeg, decoding it
#   luma($filter)         the mean luma of each picture, after a filter
#   pcm($rate)            its samples, mono, 16 bits
#   ssim($m, $filter)     SSIM of each picture against those of another one,
#                         which a filter is applied to

use v5.28;
use warnings;

use Digest::SHA qw(sha1_hex);
use JSON::PP;
use List::Util qw(max sum0);

use Livestream::Test::Conformance;

# timestamps are whole ticks: half of one of 90000 is nothing
use constant EPSILON => 0.00001;

# sample entries: the size of what is before their boxes, the box with the
# configuration, and who reads it
my %entries = (
    avc1   => { name => 'h264', kind => 'video', fixed => 78, box => 'avcC',
                read => \&avc },
    hvc1   => { name => 'hevc', kind => 'video', fixed => 78, box => 'hvcC',
                read => \&hevc },
    vp09   => { name => 'vp9', kind => 'video', fixed => 78, box => 'vpcC',
                read => \&vp9 },
    mp4a   => { name => 'aac', kind => 'audio', fixed => 28, box => 'esds',
                read => \&aac },
    Opus   => { name => 'opus', kind => 'audio', fixed => 28, box => 'dOps',
                read => sub { $_[0]{boxed} = $_[0]{codecs} = 'opus' } },
    fLaC   => { name => 'flac', kind => 'audio', fixed => 28, box => 'dfLa',
                read => sub { $_[0]{boxed} = $_[0]{codecs} = 'fLaC' } },
);

# level => [luma samples a picture, luma samples a second]
my @vp9_levels = (
    [10, 36864, 829440], [11, 73728, 2764800], [20, 122880, 4608000],
    [21, 245760, 9216000], [30, 552960, 20736000], [31, 983040, 36864000],
    [40, 2228224, 83558400], [41, 2228224, 160432128],
    [50, 8912896, 311951360], [51, 8912896, 588251136],
);


sub new {
    my ($class, $t, $stream, $track, @msns) = @_;

    my $list = $t->playlist($stream, $track)
        // die "there is no playlist of $track\n";
    my %listed = map { $_->{msn} => $_ } @{ $list->{segments} };

    @msns = map { $_->{msn} } grep { !$_->{gap} } @{ $list->{segments} }
        unless @msns;

    my $m = bless { t => $t, stream => $stream, track => $track,
                    segments => [], inits => {} }, $class;

    for my $msn (@msns) {
        my $segment = $listed{$msn} // die "$track: $msn is not listed\n";

        die "$track: $msn is a gap\n" if $segment->{gap};
        $m->add($segment);
    }

    @{ $m->{segments} } or die "$track: no segments\n";

    $m->{read}->($m);

    return $m;
}


sub get {
    my ($m, $uri) = @_;

    my $r = $m->{t}->get($m->{t}->path($m->{stream}, $m->{track}, $uri));

    die "$m->{track}/$uri: status $r->{status}\n" if $r->{status} != 200;
    return $r->{body};
}


sub add {
    my ($m, $listed) = @_;

    my $map = $listed->{map}{URI};

    $m->init($m->{inits}{$map} = $m->get($map)) unless $m->{inits}{$map};

    my %segment = (
        map({ $_ => $listed->{$_} } qw(msn dsn uri pdt discontinuity)),
        map => $map, listed => $listed->{duration},
        bytes => $m->get($listed->{uri}), samples => [],
    );

    my ($moof, $at);

    for my $box (Livestream::Test::Conformance::boxes($segment{bytes}, 0,
                     length $segment{bytes}))
    {
        my ($type, $from, $size) = @$box;

        if ($type eq 'moof') {
            $moof = substr $segment{bytes}, $from, $size;
            $at = $from - 8;

        } elsif ($type eq 'mdat') {
            my $f = Livestream::Test::Conformance::fragment($moof,
                        $from - $at, $size);
            $m->fragment(\%segment, $f, $from);
        }
    }

    my $samples = $segment{samples};

    @$samples or die "$m->{track}: segment $segment{msn} is empty\n";

    $segment{$_} = $samples->[0]{$_} for qw(dts pts);
    $segment{duration} = sum0(map { $_->{duration} } @$samples);

    push @{ $m->{segments} }, \%segment;
}


sub fragment {
    my ($m, $segment, $f, $from) = @_;

    my $dts = $f->{dts};

    for my $sample (@{ $f->{samples} }) {
        my $data = substr $segment->{bytes}, $from, $sample->{size};

        push @{ $segment->{samples} }, {
            dts => $dts / $m->{timescale},
            pts => ($dts + $sample->{cts}) / $m->{timescale},
            duration => $sample->{duration} / $m->{timescale},
            size => $sample->{size}, key => $sample->{key} ? 1 : 0,
            idr => $m->{idr}->($m, $data) ? 1 : 0, digest => sha1_hex($data),
        };

        $m->{first} //= $data;
        $from += $sample->{size};
        $dts += $sample->{duration};
    }
}


# ---- initialization segments

sub init {
    my ($m, $bytes) = @_;

    my @boxes = qw(moov trak mdia minf stbl stsd);
    my $stsd = Livestream::Test::Conformance::box($bytes, @boxes);
    my ($entry) = Livestream::Test::Conformance::boxes($stsd, 8, length $stsd);
    my ($type, $from, $size) = @$entry;
    my $is = $entries{$type} // die "$m->{track}: unknown entry $type\n";

    $m->{timescale} = Livestream::Test::Conformance::timescale($bytes);
    @$m{qw(name kind read)} = @$is{qw(name kind read)};
    @$m{qw(width height)} = unpack 'x24 n n', substr $stsd, $from, $size
        if $is->{kind} eq 'video';

    my ($box) = grep { $_->[0] eq $is->{box} }
                Livestream::Test::Conformance::boxes($stsd,
                    $from + $is->{fixed}, $from + $size);

    $m->{config} = substr $stsd, $box->[1], $box->[2];
    $m->{idr} = $m->{name} eq 'h264' ? \&avc_idr
              : $m->{name} eq 'hevc' ? \&hevc_idr
              : $m->{name} eq 'vp9' ? \&vp9_idr : sub { 1 };
}


sub avc {
    my ($m) = @_;

    my $sps = unpack 'x6 n/a*', $m->{config};

    $m->{boxed} = 'avc1.' . uc unpack 'x H6', $m->{config};
    $m->{codecs} = 'avc1.' . uc unpack 'x H6', $sps;
}


sub hevc {
    my ($m) = @_;

    my ($p, $arrays, $sps) = (23, unpack 'x22 C', $m->{config});

    for (1 .. $arrays) {
        my ($type, $count) = unpack 'C n', substr $m->{config}, $p, 3;
        $p += 3;

        for (1 .. $count) {
            my $nal = unpack 'n/a*', substr $m->{config}, $p;
            $sps //= $nal if ($type & 63) == 33;
            $p += 2 + length $nal;
        }
    }

    $sps //= die("$m->{track}: no SPS in its configuration\n");
    $sps =~ s/\0\0\x03/\0\0/g;

    $m->{boxed} = hevc_codecs(substr $m->{config}, 1, 12);
    $m->{codecs} = hevc_codecs(substr $sps, 3, 12);
}


# of a profile_tier_level
sub hevc_codecs {
    my ($bytes) = @_;

    my ($profile, $compatible, $constraints, $level)
        = unpack 'C N a6 C', $bytes;

    return join '.', 'hvc1',
        ('', 'A', 'B', 'C')[$profile >> 6] . ($profile & 31),
        sprintf('%X', oct '0b' . reverse sprintf '%032b', $compatible),
        ($profile & 32 ? 'H' : 'L') . $level,
        map { sprintf '%X', ord } split //, $constraints =~ s/\0+\z//r;
}


# A level is not in the bitstream: the least that its pictures need, unless
# the box names a higher one.
sub vp9 {
    my ($m) = @_;

    my ($profile, $level, $depth) = unpack 'x4 C C C', $m->{config};
    my $bits = unpack 'B16', $m->{first};
    my $real = substr($bits, 2, 1) + 2 * substr($bits, 3, 1);
    my $area = $m->{width} * $m->{height};
    my @samples = $m->samples;
    my $rate = $area * @samples / sum0(map { $_->{duration} } @samples);

    my ($least) = map { $_->[0] }
                  grep { $_->[1] >= $area && $_->[2] >= $rate * 0.99 }
                  @vp9_levels;

    $m->{boxed} = vp9_codecs($profile, $level, $depth >> 4);
    $m->{codecs} = vp9_codecs($real, max($least, $level),
                              $real < 2 ? 8 : $depth >> 4);
}


sub vp9_codecs { sprintf 'vp09.%02d.%02d.%02d', @_ }


# an AudioSpecificConfig opens with its object type
sub aac {
    my ($m) = @_;

    my ($config) = $m->{config}
        =~ /\x04[\x80-\xff]*.\x40.{12}\x05[\x80-\xff]*.(.+)/s
        or die "$m->{track}: no AudioSpecificConfig\n";

    $m->{boxed} = $m->{codecs} = 'mp4a.40.' . (ord($config) >> 3);
}


# ---- is a sample one that decoding can start at?

# what is done with each NAL unit of a sample
sub nals {
    my ($m, $data, $code) = @_;

    for (my $p = 0; $p + 4 < length $data; ) {
        my $size = unpack 'N', substr $data, $p, 4;

        $size && $p + 4 + $size <= length $data
            or die "$m->{track}: a NAL unit of $size bytes\n";

        $code->(ord substr $data, $p + 4, 1);
        $p += 4 + $size;
    }
}


sub avc_idr {
    my ($m, $data) = @_;

    my @slices;

    nals($m, $data, sub {
        my $type = $_[0] & 31;
        push @slices, $type if $type >= 1 && $type <= 5;
    });

    return @slices && !grep { $_ != 5 } @slices;
}


sub hevc_idr {
    my ($m, $data) = @_;

    my @slices;

    nals($m, $data, sub {
        my $type = $_[0] >> 1 & 63;
        push @slices, $type if $type < 32;
    });

    return @slices && !grep { $_ != 19 && $_ != 20 } @slices;
}


# frame_marker, profile, show_existing_frame, frame_type
sub vp9_idr {
    my ($m, $data) = @_;

    return unpack('B8', $data) =~ /^10(?:[01][01]|110)00/;
}


# ---- what is in them

sub part {
    my ($m, @msns) = @_;

    my %wanted = map { $_ => 1 } @msns;
    my $part = bless { %$m, segments => [grep { $wanted{ $_->{msn} } }
                                         @{ $m->{segments} }] }, ref $m;

    delete $part->{file};
    return $part;
}


sub samples { map { @{ $_->{samples} } } @{ $_[0]{segments} } }

sub idrs { grep { $_->{idr} } $_[0]->samples }

sub rate_of {
    my (@segments) = @_;

    return 8 * sum0(map { $_->{size} } map { @{ $_->{samples} } } @segments)
        / sum0(map { $_->{duration} } @segments);
}


sub bitrate { rate_of(@{ $_[0]{segments} }) }

sub peak { max(map { rate_of($_) } @{ $_[0]{segments} }) }


sub faults {
    my ($m) = @_;

    my ($end, $key, @faults);

    for my $segment (@{ $m->{segments} }) {
        my $first = $segment->{samples}[0];
        my $name = "segment $segment->{msn}";

        push @faults, "$name opens without a key frame"
            unless $first->{idr} && $first->{key};
        push @faults, "$name lasts $segment->{duration} s, is listed with "
            . $segment->{listed}
            if abs($segment->{duration} - $segment->{listed}) > 0.001;
        push @faults, "$name begins at $first->{dts}, $end was the end"
            if defined $end && !$segment->{discontinuity}
               && abs($first->{dts} - $end) > EPSILON;

        for my $sample (@{ $segment->{samples} }) {
            $key = $sample->{pts} if $sample->{idr};
            $end = $sample->{dts} + $sample->{duration};

            push @faults, "$name: the key flag at $sample->{dts} lies"
                if $sample->{key} != $sample->{idr};
            push @faults, "$name: the GOP at $key is not closed"
                if defined $key && $sample->{pts} < $key - EPSILON;
        }
    }

    return @faults;
}


# ---- by ffmpeg

sub file {
    my ($m) = @_;

    my %maps = map { $_->{map} => 1 } @{ $m->{segments} };

    return $m->{file} //= do {
        die "$m->{track}: several init segments\n" if keys %maps > 1;

        my $file = "$m->{t}{dir}/media" . ++$m->{t}{nmedia} . '.mp4';
        Livestream::Test::write_file($file, join '',
            $m->{inits}{ $m->{segments}[0]{map} },
            map { $_->{bytes} } @{ $m->{segments} });
        $file;
    };
}


# a program's output
sub output {
    my (@argv) = @_;

    open my $fh, '-|', @argv or die "$argv[0]: $!\n";
    binmode $fh;
    local $/;
    my $text = <$fh> // '';
    close $fh or die "$argv[0] failed: @argv\n";

    return $text;
}


sub stream {
    my ($m) = @_;

    my $json = output(qw(ffprobe -v error -of json -show_streams), $m->file);

    return decode_json($json)->{streams}[0];
}


sub complaints {
    my ($m) = @_;

    my $file = $m->file;
    my $text = `ffmpeg -nostdin -v error -i \Q$file\E \\
        -enc_time_base 1/90000 -f null - 2>&1`;

    return $text . ($? ? "exit status $?\n" : '');
}


sub luma {
    my ($m, $filter) = @_;

    $filter = join ',', $filter // (), 'scale=1:1:flags=area', 'format=gray';

    return unpack 'C*', output(qw(ffmpeg -nostdin -v error -i), $m->file,
        '-vf', $filter, qw(-fps_mode passthrough -enc_time_base 1/90000
           -f rawvideo -));
}


sub pcm {
    my ($m, $rate) = @_;

    return unpack 's<*', output(qw(ffmpeg -nostdin -v error -i), $m->file,
        '-ar', $rate, qw(-ac 1 -f s16le -));
}


sub ssim {
    my ($m, $other, $filter) = @_;

    my $text = output(qw(ffmpeg -nostdin -v error -i), $other->file, '-i',
        $m->file, '-lavfi', "[0:v]$filter,settb=1/1000,setpts=100*N[a];"
        . '[1:v]settb=1/1000,setpts=100*N[b];[a][b]ssim=stats_file=-',
        qw(-fps_mode passthrough -f null -));

    return $text =~ /All:([\d.]+)/g;
}


1;
