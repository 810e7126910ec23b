# Codecs that come out wrong: each video codec with each audio codec, legacy
# and enhanced RTMP, from the publisher to a decoder, with the CODECS string
# held against the bytes of the init segment.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Conformance;

use JSON::PP;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 8;');
$t->start;

my $bench = Livestream::Bench->new($t);

my $x265 = 'log-level=error:keyint=30:min-keyint=30:scenecut=0';

my %video = (
    h264 => ['libx264', '-preset', 'veryfast', '-bf', 2],
    baseline => ['libx264', '-preset', 'veryfast', '-profile:v', 'baseline'],
    hevc => ['libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1',
             '-x265-params', $x265],
    main10 => ['libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1',
               '-x265-params', $x265, '-pix_fmt', 'yuv420p10le'],
    av1 => ['libsvtav1', '-preset', 12],
    av1_10 => ['libsvtav1', '-preset', 12, '-pix_fmt', 'yuv420p10le'],
    vp9 => ['libvpx-vp9', '-deadline', 'realtime', '-cpu-used', 8, '-b:v',
            '300k'],
    vp9_10 => ['libvpx-vp9', '-deadline', 'realtime', '-cpu-used', 8, '-b:v',
               '300k', '-pix_fmt', 'yuv420p10le'],
);

my %audio = (
    aac => ['aac'],
    opus => ['libopus'],
    flac => ['flac', '-sample_fmt', 's16'],
    flac24 => ['flac', '-sample_fmt', 's32', '-bits_per_raw_sample', 24],
);

my %name = (h264 => 'h264', baseline => 'h264', hevc => 'hevc',
            main10 => 'hevc', av1 => 'av1', av1_10 => 'av1', vp9 => 'vp9',
            vp9_10 => 'vp9', aac => 'aac', opus => 'opus', flac => 'flac',
            flac24 => 'flac');

my @cases;

for my $v (qw(h264 hevc av1 vp9)) {
    push @cases, map { { video => $v, audio => $_ } } qw(aac opus flac);
    push @cases, { video => $v };
}

push @cases,
    (map { { audio => $_ } } qw(aac opus flac)),
    (map { { video => $_, audio => 'aac' } }
         qw(baseline main10 av1_10 vp9_10)),
    { video => 'h264', audio => 'aac', enhanced => 1 },
    { video => 'h264', enhanced => 1 },
    { audio => 'aac', enhanced => 1 },
    { video => 'h264', audio => 'aac', clip => { rate => 44100,
      channels => 1 } },
    { video => 'h264', audio => 'opus', clip => { channels => 6 } },
    { audio => 'flac24' };

# clips first, so that all are live for the same seconds
for my $c (@cases) {
    $c->{name} = join ' + ', map { $_ // () } $c->{video}, $c->{audio},
        $c->{enhanced} ? 'enhanced' : undef,
        map { "$_ $c->{clip}{$_}" } sort keys %{ $c->{clip} // {} };
    $c->{file} = $bench->clip(
        map({ $c->{$_} ? ($_ => ($_ eq 'video' ? \%video : \%audio)
                          ->{ $c->{$_} }) : () } qw(video audio)),
        %{ $c->{clip} // {} });
}

for my $c (@cases) {
    $c->{stream} = $t->create(title => $c->{name});
    $c->{publisher} = $bench->publish($c->{stream}, $c->{file}, '--loop',
                                      $c->{enhanced} ? '--enhanced' : ());
}

subtest $_->{name} => \&check, $_ for @cases;

$t->stop;
done_testing();


sub check {
    my ($c) = @_;

    my @tracks = grep { $_ } $c->{video} && 'source', $c->{audio} && 'audio';
    my %list = map { $_ => three($c, $_) } @tracks;

    for my $track (@tracks) {
        ok($list{$track}, "$track: three segments are listed")
            or diag($c->{publisher}->output), return;
    }

    my $master = $t->master_playlist($c->{stream});
    is_deeply([Livestream::Test::Conformance::master($master)], [],
              'the multivariant playlist keeps the rules');

    my $variant = $master->{variants}[0];
    my @codecs;

    for my $track (@tracks) {
        my $kind = $track eq 'audio' ? 'audio' : 'video';
        my $init = media($c, $track, $list{$track}) // return;

        push @codecs, codecs($init);
        decodes($c, $track, $name{ $c->{$kind} });
    }

    is(lc join(',', sort split /,/, $variant->{CODECS} // ''),
       lc join(',', sort @codecs), 'CODECS says what is in the init segments');
    is($variant->{RESOLUTION}, $c->{video} ? '320x180' : undef, 'RESOLUTION');

    $c->{publisher}->stop;
    is($c->{publisher}->code, 0, 'the publisher was let to its end')
        or diag($c->{publisher}->output);
}


sub three {
    my ($c, $track) = @_;

    return wait_for {
        my $m = $t->playlist($c->{stream}, $track);
        $m && @{ $m->{segments} } >= 3 && $m;
    } 20;
}


# Keeps a track's init segment and three segments in a file; the former's bytes
# are returned.
sub media {
    my ($c, $track, $m) = @_;

    my ($init, $media);

    for my $uri ($m->{segments}[0]{map}{URI},
                 map { $_->{uri} } @{ $m->{segments} }[0 .. 2])
    {
        my $r = $t->get($t->path($c->{stream}, $track, $uri));
        is($r->{status}, 200, "$track: $uri is served") or return undef;
        $init //= $r->{body};
        $media .= $r->{body};
    }

    Livestream::Test::write_file("$t->{dir}/$track.mp4", $media);

    return $init;
}


sub decodes {
    my ($c, $track, $name) = @_;

    my $file = "$t->{dir}/$track.mp4";
    my $json = `ffprobe -v error -of json -show_streams \Q$file\E`;
    my $streams = eval { decode_json($json)->{streams} } // [];

    is(scalar @$streams, 1, "$track: one stream in a track");
    is($streams->[0]{codec_name}, $name, "$track: is $name");

    if ($track eq 'audio') {
        is($streams->[0]{sample_rate}, $c->{clip}{rate} // 48000,
           "$track: sample rate");
        is($streams->[0]{channels}, $c->{clip}{channels} // 2,
           "$track: channels");
    } else {
        is("$streams->[0]{width}x$streams->[0]{height}", '320x180',
           "$track: size");
    }

    my $said = `ffmpeg -v error -i \Q$file\E -f null - 2>&1`;
    is($?, 0, "$track: ffmpeg decodes it");
    is($said, '', "$track: without a complaint");
}


# The CODECS string of an init segment, from its own configuration box.
sub codecs {
    my ($init) = @_;

    if ($init =~ /avcC.(...)/s) {
        return 'avc1.' . uc unpack 'H*', $1;
    }

    if ($init =~ /hvcC.(.)(....)(......)(.)/s) {
        my ($profile, $compatible, $constraints, $level)
            = (ord $1, unpack('N', $2), $3, ord $4);
        my $reversed = oct '0b' . reverse sprintf '%032b', $compatible;

        return join '.', 'hvc1',
            ('', 'A', 'B', 'C')[$profile >> 6] . ($profile & 31),
            sprintf('%X', $reversed),
            ($profile & 32 ? 'H' : 'L') . $level,
            map { sprintf '%X', ord } split //, $constraints =~ s/\0+$//r;
    }

    if ($init =~ /av1C.(.)(.)/s) {
        my ($level, $flags) = (ord $1, ord $2);

        return sprintf 'av01.%d.%02d%s.%02d', $level >> 5, $level & 31,
            $flags & 0x80 ? 'H' : 'M',
            $flags & 0x20 ? 12 : $flags & 0x40 ? 10 : 8;
    }

    if ($init =~ /vpcC\x01...(.)(.)(.)/s) {
        return sprintf 'vp09.%02d.%02d.%02d', ord $1, ord $2, ord($3) >> 4;
    }

    # an AudioSpecificConfig opens with its object type
    if ($init =~ /esds.*?\x40\x15.{11}\x05(?:\x80\x80\x80)?.(.)/s) {
        return 'mp4a.40.' . (ord($1) >> 3);
    }

    return $init =~ /dOps/ ? 'opus' : $init =~ /dfLa/ ? 'flac' : 'unknown';
}
