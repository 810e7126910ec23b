# A ladder whose codecs are not what was asked for, or not what the playlist
# says: H.265 and VP9, and what becomes of each kind of audio.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Ladder;

use List::Util qw(max);

use constant LAST => 3;

my $t = Livestream::Test->new(livestream => 'transcode on; max_transcodes 32;
                                             rung 180p 320x180 200k;
                                             rung 90p 160x90 80k;
                                             video_preset ultrafast;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 30;');
$t->start;

my $bench = Livestream::Bench->new($t);

# a tone in noise: it takes all the bits that it is given
my @noise = ('-af', 'aeval=val(0)+0.1*random(0)-0.05:c=same');
my @x264 = ('libx264', '-preset', 'veryfast', '-bf', 2, '-sc_threshold', 0);
my @x265 = ('libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1',
            '-x265-params', 'log-level=error:keyint=60:min-keyint=60:'
            . 'scenecut=0:open-gop=0');

my %audio = (
    aac => ['aac', '-b:a', '64k', @noise],
    rich => ['aac', '-b:a', '256k', @noise],
    opus => ['libopus', '-b:a', '96k', @noise],
    flac => ['flac', '-sample_fmt', 's16', @noise],
);

# "tracks" are of video; "codec" and "sound" are what they must be; "same", the
# bytes of the audio are the publisher's; small ones are those where only the
# audio matters
my %small = (size => '160x90', settings => { resolutions => ['90p'] },
             tracks => ['source', '90p'], codec => 'h264');

my @cases = (
    { name => 'H.265 from H.264', audio => 'aac', sound => 'aac', same => 1,
      settings => { codec => 'h265' }, codec => 'hevc',
      tracks => ['180p', '90p'] },
    { name => 'H.265 from H.265', audio => 'aac', sound => 'aac',
      video => \@x265, settings => { codec => 'h265' }, codec => 'hevc',
      tracks => ['source', '180p', '90p'] },
    { name => 'H.264 from H.265', audio => 'rich', sound => 'aac',
      video => \@x265, codec => 'h264', tracks => ['180p', '90p'],
      rate => 128000 },
    { name => 'VP9 from H.264', audio => 'aac', sound => 'aac',
      settings => { codec => 'vp9' }, codec => 'vp9',
      tracks => ['180p', '90p'] },
    { %small, name => 'rich AAC', audio => 'rich', sound => 'aac',
      rate => 128000 },
    { %small, name => 'AAC at its own bitrate', audio => 'rich',
      sound => 'aac', rate => 256000, same => 1,
      settings => { resolutions => ['90p'], audio_bitrate => 320 } },
    { %small, name => 'poor AAC', audio => 'aac', sound => 'aac', same => 1,
      rate => 64000 },
    { %small, name => 'Opus', audio => 'opus', sound => 'aac',
      rate => 128000 },
    { %small, name => 'FLAC', audio => 'flac', sound => 'aac',
      rate => 128000 },
    { %small, name => 'Opus of six channels', audio => 'opus',
      sound => 'aac', clip => { channels => 6 } },
    { %small, name => 'AAC of 44.1 kHz', audio => 'rich', sound => 'aac',
      clip => { rate => 44100 } },
    { %small, name => 'AAC to Opus', audio => 'rich', sound => 'opus',
      settings => { resolutions => ['90p'], audio_codec => 'opus' } },
    { %small, name => 'no audio' },
    { name => 'audio only', video => 0, audio => 'rich', sound => 'aac',
      rate => 128000, tracks => [] },
);

for my $c (@cases) {
    $c->{video} //= \@x264;
    $c->{file} = clip($c, %{ $c->{clip} // {} });
}

my $later = clip({ %small, video => \@x264, audio => 'rich' }, rate => 44100);

for my $c (@cases) {
    $c->{stream} = $t->create(title => $c->{name},
                              settings => $c->{settings} // {});
    $c->{publisher} = $bench->publish($c->{stream}, $c->{file}, '--loop');
}

subtest $_->{name} => \&check, $_ for @cases;

# the audio's sample rate changes: the publisher's next session is another
# encoder's, and within one
my $rich = clip({ %small, video => \@x264, audio => 'rich' });

subtest 'another sample rate, in one session' => sub {
    changes('--change-to', "6000:$later");
};

subtest 'another sample rate, in the next session' => sub {
    changes('--cut-after', 6000);
};

$t->stop;
done_testing();


sub clip {
    my ($c, %o) = @_;

    return $bench->clip(
        size => $c->{size} // '320x180', gop => 2, seconds => 10, %o,
        $c->{video} ? (video => $c->{video}) : (),
        $c->{audio} ? (audio => $audio{ $c->{audio} }) : ());
}


sub check {
    my ($c) = @_;

    my $l = Livestream::Test::Ladder->new($t, $c->{stream});
    my @tracks = sort @{ $c->{tracks} }, $c->{audio} ? 'audio' : ();

    ok((wait_for { "@{[$l->tracks]}" eq "@tracks" } 20),
       "its tracks are @tracks")
        or diag(join(' ', $l->tracks), $c->{publisher}->output), return;
    ok($l->wait_segment(LAST), 'it goes on') or return;

    is_deeply([$l->problems], [], 'its playlists keep the rules');

    my $media = $l->media(1 .. LAST);

    is_deeply([Livestream::Test::Ladder::misaligned($media)], [],
              'all tracks are cut at the same times')
        if @{ $c->{tracks} };

    for my $track (@tracks) {
        my $m = $media->{$track};

        is($m->{name}, $track eq 'audio' ? $c->{sound} : $c->{codec},
           "$track: its codec");
        is($m->{boxed}, $m->{codecs}, "$track: its configuration is true");
        is_deeply([$m->faults], [], "$track: its samples are right");
        is($m->complaints, '', "$track: ffmpeg decodes it");
    }

    told($c, $l, $media);
    sound($c, $media->{audio}) if $c->{audio};
    played($c);

    $c->{publisher}->stop;
    is($c->{publisher}->code, 0, 'the publisher was let to its end')
        or diag($c->{publisher}->output);
}


# by the multivariant playlist
sub told {
    my ($c, $l, $media) = @_;

    my $audio = $c->{audio} ? $media->{audio}{codecs} : undef;
    my $variants = $l->variants;

    for my $track (@{ $c->{tracks} }) {
        my $v = $variants->{$track};

        is(lc $v->{CODECS},
           lc join(',', grep { $_ } $media->{$track}{codecs}, $audio),
           "$track: CODECS is what the bitstream says");
        is($v->{RESOLUTION}, "$media->{$track}{width}x"
           . $media->{$track}{height}, "$track: so is RESOLUTION");
    }

    is($l->master->{variants}[0]{CODECS}, $audio, 'CODECS of the audio')
        unless @{ $c->{tracks} };
}


sub sound {
    my ($c, $m) = @_;

    cmp_ok(abs($m->bitrate / $c->{rate} - 1), '<', 0.1,
           "audio: its bitrate is $c->{rate}") or diag($m->bitrate)
        if $c->{rate};

    cmp_ok(abs(pitch($m) / 440 - 1), '<', 0.01, 'audio: the tone is in tune');

    my $published = join ' ', digests($c->{file});
    my $served = join ' ', map { $_->{digest} } $m->samples;
    my $same = index("$published $published", $served) >= 0;

    is($same ? 1 : 0, $c->{same} // 0, $c->{same}
       ? 'audio: is the publisher\'s, byte for byte'
       : 'audio: is not the publisher\'s') if exists $c->{rate};
}


# Hz; the tone's half waves are counted where they are above the noise
sub pitch {
    my ($m) = @_;

    my @samples = $m->pcm(48000);
    my ($sign, $turns, $first, $last) = (0, 0);
    my $loud = 0.45 * max(@samples);

    for my $i (0 .. $#samples) {
        next if abs($samples[$i]) < $loud;

        my $now = $samples[$i] <=> 0;
        next if $now == $sign;

        $sign = $now;
        $first //= $i;
        $last = $i;
        $turns++;
    }

    return $turns > 1 ? ($turns - 1) / 2 / (($last - $first) / 48000) : 0;
}


# of the audio's packets in a clip
sub digests {
    my ($file) = @_;

    my $text = `ffprobe -v error -select_streams a -show_packets \\
        -show_data_hash sha160 -show_entries packet=data_hash -of csv=p=0 \\
        \Q$file\E`;

    return $text =~ /SHA160:(\w+)/g;
}


sub played {
    my ($c) = @_;

    my $url = $t->url($c->{stream}, 'master.m3u8');
    my $said = `ffmpeg -nostdin -v error -i $url -map 0 -t 2 -f null - 2>&1`;

    is($?, 0, 'ffmpeg plays it') or diag($said);
}


sub changes {
    my (@options) = @_;

    my $s = $t->create(title => 'Changes', settings => $small{settings});
    my $l = Livestream::Test::Ladder->new($t, $s);
    my $p = $bench->publish($s, $rich, '--loop', @options);

    ok($l->wait_tracks('source', '90p'), 'the ladder is there')
        or diag($p->output), return;

    if (grep { $_ eq '--cut-after' } @options) {
        is($p->code, 0, 'the publisher leaves');
        $p = $bench->publish($s, $later, '--loop');
    }

    ok($l->wait_segment(6), 'it goes on') or diag($p->output), return;

    is_deeply([$l->problems], [], 'its playlists keep the rules');

    my @all = $l->listed;
    is_deeply([Livestream::Test::Ladder::misaligned($l->media(@all))], [],
              'all tracks are cut at the same times');

    for my $part ([@all[0, 1]], [@all[-2, -1]]) {
        my $m = Livestream::Test::Media->new($t, $s, 'audio', @$part);

        is_deeply([$m->faults], [], "@$part: its samples are right");
        is($m->complaints, '', "@$part: ffmpeg decodes it");
        cmp_ok(abs(pitch($m) / 440 - 1), '<', 0.01,
               "@$part: the tone is in tune");
    }

    $p->stop;
}
