# Sources that are not 16:9 progressive SDR of a constant rate: stretched,
# combed, turned or washed-out rungs, and a source that is passed through
# beside rungs that look different.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Ladder;

use List::Util qw(max sum0);

use constant { LAST => 2, SLACK => 2 };

my $t = Livestream::Test->new(livestream => 'transcode on; max_transcodes 32;
                                             rung 720p 1280x720 2000k;
                                             rung 180p 320x180 200k;
                                             rung 90p 160x90 80k;
                                             video_preset ultrafast;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 30;');
$t->start;

my $bench = Livestream::Bench->new($t);

my @x264 = ('libx264', '-preset', 'veryfast', '-sc_threshold', 0);
my @x265 = ('libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1',
            '-pix_fmt', 'yuv420p10le', '-x265-params', 'log-level=error:'
            . 'keyint=60:min-keyint=60:scenecut=0:open-gop=0');
my @bt2020 = ('-color_primaries', 'bt2020', '-colorspace', 'bt2020nc',
              '-color_trc');
my @both = ('180p', '90p');

# What is expected: "source" whether it is passed through; "rungs" and their
# pixels; "rate" of all of them, or by name, where it is not the source's;
# "of" are the rungs that the stream asks for; "turn" is what ffmpeg, which
# does not heed the bitstream, has to do to the source.

my @cases = (
    { name => 'turned', turn => 'transpose=cclock',
      args => ['-bsf:v', 'h264_metadata=display_orientation=insert:rotate=90'],
      rungs => { '180p' => '180x320', '90p' => '90x160' } },

    { name => 'plain', source => 1,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'portrait', size => '180x320', source => 1,
      rungs => { '180p' => '180x320', '90p' => '90x160' } },

    { name => '4:3', size => '240x180', source => 1,
      rungs => { '180p' => '240x180', '90p' => '120x90' } },

    { name => 'cinema', size => '320x136', source => 1,
      rungs => { '90p' => '160x68' } },

    { name => 'anamorphic', size => '240x180', args => ['-vf', 'setsar=4/3'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'interlaced', fps => 50, rate => 25,
      args => ['-vf', 'interlace', '-flags', '+ilme+ildct', '-g', 50],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '10 bits', args => ['-pix_fmt', 'yuv420p10le'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '4:2:2', args => ['-pix_fmt', 'yuv422p'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '4:2:2 of 10 bits', args => ['-pix_fmt', 'yuv422p10le'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '4:4:4, odd',
      args => ['-vf', 'scale=321:181', '-pix_fmt', 'yuv444p'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'full range', args => ['-vf', 'scale=out_range=full',
                                     '-color_range', 'pc'], source => 1,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'VP9, odd', args => ['-vf', 'scale=321:181'],
      video => ['libvpx-vp9', '-deadline', 'realtime', '-cpu-used', 8,
                '-b:v', '300k'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'not of 16', size => '318x178', source => 1,
      rungs => { '90p' => '160x90' } },

    { name => 'small', size => '64x36', source => 1,
      rungs => { '90p' => '64x36' } },

    { name => 'variable rate', source => 1, variable => 1,
      args => ['-vf', 'select=not(eq(mod(n\\,7)\\,3))*not(between(mod(n\\,60)'
               . '\\,40\\,50))', '-fps_mode', 'vfr', '-g', 1000,
               '-force_key_frames', 'expr:gte(t,n_forced)'],
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '50 fps', fps => 50, source => 1, rate => 25,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => '60 fps, high', fps => 60, size => '1280x720', source => 1,
      of => ['720p', '90p'], rate => { '720p' => 60, '90p' => 30 },
      rungs => { '720p' => '1280x720', '90p' => '160x90' } },

    { name => '24 fps', fps => 24, source => 1,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'PQ', video => [@x265, @bt2020, 'smpte2084'], hdr => 1,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },

    { name => 'HLG', video => [@x265, @bt2020, 'arib-std-b67'], hdr => 1,
      rungs => { '180p' => '320x180', '90p' => '160x90' } },
);

for my $c (@cases) {
    $c->{size} //= '320x180';
    $c->{fps} //= 30;
    $c->{file} = $bench->clip(size => $c->{size}, fps => $c->{fps}, gop => 2,
                              seconds => 8, video => [
        @{ $c->{video} // \@x264 }, @{ $c->{args} // [] }]);
}

# some at a time, so that each has room
while (my @some = splice @cases, 0, 7) {
    for my $c (@some) {
        $c->{stream} = $t->create(title => $c->{name}, settings => {
            resolutions => $c->{of} // \@both });
        $c->{publisher} = $bench->publish($c->{stream}, $c->{file}, '--loop');
    }

    subtest $_->{name} => \&check, $_ for @some;

    $_->{publisher}->stop for @some;
}

$t->stop;
done_testing();


sub check {
    my ($c) = @_;

    my $l = Livestream::Test::Ladder->new($t, $c->{stream});
    my @rungs = sort keys %{ $c->{rungs} };

    ok($l->wait_tracks($c->{source} ? 'source' : (), @rungs),
       'its variants are ' . join ' ', $c->{source} ? 'source' : (), @rungs)
        or diag(join(' ', $l->tracks), $c->{publisher}->output), return;
    ok($l->wait_segment(LAST), 'it goes on') or return;

    is_deeply([$l->problems], [], 'its playlists keep the rules');

    my $media = $l->media(1 .. LAST);

    is_deeply([Livestream::Test::Ladder::misaligned($media)], [],
              'all tracks are cut at the same times');

    rung($c, $_, $media->{$_}, $l->variants->{$_}) for @rungs;
    same_times($c, $media) if $c->{variable};
    looks($c, $media->{ $rungs[0] });
}


sub rung {
    my ($c, $track, $m, $v) = @_;

    my ($w, $h) = split /x/, $c->{rungs}{$track};
    my $is = $m->stream;

    cmp_ok(max(abs($is->{width} - $w), abs($is->{height} - $h)), '<=',
           $w == $is->{width} && $h == $is->{height} ? 0 : SLACK,
           "$track: its size") or diag("$is->{width}x$is->{height}");
    is(($is->{width} | $is->{height}) & 1, 0, "$track: is even");
    is($v->{RESOLUTION}, "$is->{width}x$is->{height}", "$track: and told");
    like($is->{sample_aspect_ratio} // '1:1', qr/^(?:1:1|0:1)$/,
         "$track: its pixels are square");
    is("$is->{pix_fmt} $is->{field_order}", 'yuv420p progressive',
       "$track: is plain");
    isnt($is->{color_range} // '', 'pc', "$track: of limited range");
    unlike($is->{color_transfer} // '', qr/smpte2084|arib/,
           "$track: of standard dynamic range");
    is_deeply([$m->faults], [], "$track: its samples are right");
    is($m->complaints, '', "$track: ffmpeg decodes it");
    is($m->{boxed}, $m->{codecs}, "$track: its configuration is true");

    return if $c->{variable};

    is($m->idrs, LAST, "$track: a key frame in two seconds");

    my $rate = $c->{rate} // $c->{fps};
    $rate = $rate->{$track} if ref $rate;
    my $real = $m->samples / sum0(map { $_->{duration} } $m->samples);

    cmp_ok(abs($real - $rate), '<', 0.6, "$track: $rate pictures a second")
        or diag($real);
    cmp_ok(abs($v->{'FRAME-RATE'} - $rate), '<', 0.6, "$track: and told")
        or diag($v->{'FRAME-RATE'});
}


# every picture of a variable rate is where the source has it
sub same_times {
    my ($c, $media) = @_;

    my $times = sub {
        return join ' ', map { sprintf '%.3f', $_ }
            sort { $a <=> $b } map { $_->{pts} } $media->{ $_[0] }->samples;
    };

    is($times->($_), $times->('source'), "$_: has the source's times")
        for sort keys %{ $c->{rungs} };
}


# The picture against the clip's own by ffmpeg: nothing is stretched, turned
# the wrong way, left out or washed out.
sub looks {
    my ($c, $m) = @_;

    my $size = "$m->{width}:$m->{height}";
    my $file = $c->{file};
    my $filter = "scale=$size:flags=area:in_range=auto:out_range=tv,"
                 . 'setsar=1,format=yuv420p';

    # what ffmpeg's tone mapping makes is a matter of taste
    return if $c->{hdr};

    my $mean = sub {
        my ($from, $filter, @part) = @_;
        my $raw = `ffmpeg -nostdin -v error @part -i \Q$from\E -vf \\
            \Q$filter\E,scale=16:16:flags=area,format=gray \\
            -fps_mode passthrough -enc_time_base 1/90000 -f rawvideo -`;
        my @bytes = unpack 'C*', $raw;
        my $n = @bytes / 256 || 1;
        my @mean = (0) x 256;

        $mean[$_ % 256] += $bytes[$_] / $n for 0 .. $#bytes;
        return \@mean;
    };

    my $is = $mean->($m->file, $filter);
    my $was = $mean->($file, join(',', $c->{turn} // (), $filter),
                      '-ss', 2, '-t', 2 * LAST);
    my @apart = map { abs($is->[$_] - $was->[$_]) } 0 .. 255;

    cmp_ok(sum0(@apart) / 256, '<', 8, 'the picture is the source\'s')
        or diag("@apart");
}
