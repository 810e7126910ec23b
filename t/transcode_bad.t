# Video that cannot be decoded, in mid-stream, and more streams than
# max_transcodes: a hundred broken GOPs in a row must neither end the stream
# nor leak, and a stream for which there is no room is passed through.

use Livestream::Test;
use Livestream::Bench;
use Livestream::RTMP;
use Livestream::Test::Ladder;

use List::Util qw(sum0);

use constant { FPS => 30, GOP => 0.2, BROKEN => 100, SPEED => 2 };

# seconds of the clip
use constant FROM => 4;
use constant TO => FROM + BROKEN * GOP;

my $t = Livestream::Test->new(livestream => 'transcode on;
                                             max_transcodes 2;
                                             rung 180p 320x180 200k;
                                             rung 90p 160x90 80k;
                                             video_preset ultrafast;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 20;
                                             reconnect_window 2s;');
$t->start;

my @x264 = ('libx264', '-preset', 'veryfast', '-bf', 2, '-sc_threshold', 0);
my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(video => \@x264, audio => ['aac'], gop => 2);

my $seed = $ENV{TEST_SEED} // time();
srand $seed;
note("TEST_SEED=$seed");

subtest 'a hundred broken GOPs' => \&broken_gops;
subtest 'pictures of another size than their SPS says' => \&lies;
subtest 'audio of noise' => \&noise;
subtest 'more streams than max_transcodes' => \&no_room;
subtest 'a worker that is killed gives its places back' => \&killed;

$t->allow(qr/exited on signal 9/);
$t->stop;
done_testing();


sub broken_gops {
    my $file = broken($bench->clip(video => \@x264, audio => ['aac'],
                                   gop => GOP, seconds => TO + 8));
    my $s = $t->create(title => 'Broken');
    my $l = Livestream::Test::Ladder->new($t, $s);
    my $p = $bench->publish($s, $file, '--speed', SPEED);
    my $from = now();
    my @workers = $t->workers;

    ok($l->wait_tracks(qw(source 180p 90p)), 'the ladder is there')
        or diag($p->output), return;

    my @memory;

    while (!defined $p->wait(0.2) && now() < $from + 60) {
        push @memory, [now() - $from, Livestream::Test::Ladder::memory($t)];
    }

    is($p->code, 0, 'the publisher was let to its end') or diag($p->output);
    is(join(' ', $t->workers), "@workers", 'no worker has crashed');

    # of the broken part, its second half against its first
    my $mean = sub {
        my ($begin, $end) = map { $_ / SPEED } @_;
        my @m = map { $_->[1] } grep { $_->[0] > $begin && $_->[0] < $end }
                @memory;
        return @m ? sum0(@m) / @m : 0;
    };

    my $middle = FROM + (TO - FROM) / 2;
    my $more = $mean->($middle, TO) - $mean->(FROM + 2, $middle);
    cmp_ok($more, '<', 16 * 1024 * 1024, 'and none leaks') or diag($more);

    # the whole pictures behind them
    my @listed = $l->listed;
    my @whole = @listed[-3, -2];

    for my $track (qw(180p 90p)) {
        my $m = Livestream::Test::Media->new($t, $s, $track, @whole);

        is_deeply([$m->faults], [], "$track: goes on behind them");
        is($m->complaints, '', "$track: ffmpeg decodes it");
        cmp_ok(scalar $m->samples, '>', 0.95 * FPS
               * sum0(map { $_->{duration} } @{ $m->{segments} }),
               "$track: no picture is left out");
    }

    is_deeply([Livestream::Test::Ladder::misaligned($l->media(@whole))], [],
              'with the source');
    is_deeply([$l->problems], [], 'the playlists keep the rules');
}


# A copy of the clip with most of its slices' bytes changed between FROM and
# TO.  Every third key frame is no longer one, so that what refers to it has
# nothing.
sub broken {
    my ($clip) = @_;

    my $file = "$t->{dir}/broken.mp4";
    my $bytes = Livestream::Test::read_file($clip);
    my @packets = map { [split /,/] } `ffprobe -v error -select_streams v \\
        -show_entries packet=pts_time,size,pos,flags -of csv=p=0 \Q$clip\E`;
    my $keys = 0;

    for my $packet (@packets) {
        my ($time, $size, $at, $flags) = @$packet;
        next if $time < FROM || $time >= TO;

        my $lost = $flags =~ /K/ && ++$keys % 3 == 0;

        for (my $p = $at; $p < $at + $size; ) {
            my $length = unpack 'N', substr $bytes, $p, 4;
            my $type = ord(substr $bytes, $p + 4, 1) & 31;

            damage(\$bytes, $p + 4, $length, $lost) if $type == 1
                || $type == 5;
            $p += 4 + $length;
        }
    }

    cmp_ok($keys, '>=', BROKEN, "$keys GOPs are broken");
    Livestream::Test::write_file($file, $bytes);

    return $file;
}


sub damage {
    my ($bytes, $at, $length, $lost) = @_;

    # "reserved": a decoder passes over it
    substr($$bytes, $at, 1) = "\x16" if $lost;

    for (1 .. 1 + $length / 8) {
        my $p = $at + 2 + int rand($length - 2);
        substr($$bytes, $p, 1) = chr rand 256 if $length > 2;
    }
}


# a publisher that is a script; waits until the server has taken it
sub publisher {
    my ($s) = @_;

    return wait_for {
        my $c = Livestream::RTMP->new($t);
        ($c->publish($s->{stream_key}) // '') eq 'NetStream.Publish.Start'
            and $c;
    };
}


# tags of a clip: configuration and the others, as FLV has them
sub tags {
    my ($clip, $type) = @_;

    my $flv = `ffmpeg -v error -i \Q$clip\E -c copy -f flv -`;
    my @tags;

    for (my $at = 13; $at + 11 < length $flv; ) {
        my ($is, $size, $ts) = unpack 'C a3 a3', substr $flv, $at, 7;

        ($size, $ts) = map { unpack 'N', "\0$_" } $size, $ts;
        push @tags, { body => substr($flv, $at + 11, $size), ts => $ts }
            if $is == $type;
        $at += 15 + $size;
    }

    return grep { length $_->{body} > 5 } @tags;
}


sub send_paced {
    my ($c, $type, @tags) = @_;

    my $from = now();

    for my $tag (@tags) {
        wait_for { now() >= $from + $tag->{ts} / 1000 } 5;
        $c->message($type, $tag->{body}, ts => $tag->{ts});
    }
}


sub lies {
    my $large = $bench->clip(video => \@x264, size => '640x360', gop => 2);
    my @small = tags($bench->clip(video => \@x264, gop => 2), 9);
    my @large = tags($large, 9);
    my @workers = $t->workers;
    my $s = $t->create(title => 'Lies');
    my $c = publisher($s);

    $c->message(9, $large[0]{body});
    send_paced($c, 9, @small[1 .. 90]);
    $c->close;

    is(join(' ', $t->workers), "@workers", 'no worker has crashed');
    unlike($t->log, qr/exited on signal/, 'ever');
}


sub noise {
    my @audio = tags($bench->clip(video => \@x264, gop => 2,
                                  audio => ['aac', '-b:a', '256k']), 8);
    my @workers = $t->workers;
    my $s = $t->create(title => 'Noise');
    my $c = publisher($s);

    for my $tag (@audio[2 .. $#audio]) {
        my $body = substr $tag->{body}, 0, 2;
        $tag->{body} = $body . join '', map { chr rand 256 } 1 .. 400;
    }

    $c->message(8, $audio[0]{body});
    send_paced($c, 8, @audio[1 .. 100]);
    $c->close;

    # it was never live, which is what the others' ends are known by
    ok((wait_for { $t->log =~ /stream $s->{id}: ended/ } 15), 'it ends');

    is(join(' ', $t->workers), "@workers", 'no worker has crashed');
    unlike($t->log, qr/exited on signal/, 'ever');
}


sub all_ended {
    return wait_for {
        my ($row) = $t->sql("SELECT count(*) AS n FROM live_streams
                             WHERE status IN ('live', 'interrupted')");
        $row->{n} == 0;
    } 30;
}


sub begin {
    my ($title) = @_;

    my $s = $t->create(title => $title);

    return { stream => $s, publisher => $bench->publish($s, $clip, '--loop'),
             ladder => Livestream::Test::Ladder->new($t, $s) };
}


# two are transcoded, the third is not; once there is room the next is
sub no_room {
    ok(all_ended(), 'nobody publishes');

    my @live = map { begin($_) } 'one', 'two';

    ok($_->{ladder}->wait_tracks(qw(source 180p 90p)),
       'there is room for two') for @live;

    my $three = begin('three');

    ok($three->{ladder}->wait_tracks('source'),
       'a third one is passed through');
    ok($t->log_like(qr/max_transcodes.*$three->{stream}{id}
                      |$three->{stream}{id}.*max_transcodes/x),
       'and the log says why');
    is_deeply([$three->{ladder}->problems], [], 'it can be played');

    my ($status) = $t->api(GET => "/livestreams/$three->{stream}{id}");
    is($status, 200, 'it is not refused');

    $_->{publisher}->stop for @live, $three;
    ok(all_ended(), 'they end');

    my $four = begin('four');
    ok($four->{ladder}->wait_tracks(qw(source 180p 90p)),
       'then there is room again');
    $four->{publisher}->stop;
}


sub killed {
    ok(all_ended(), 'nobody publishes');

    for my $round (1 .. 3) {
        my @live = map { begin("$_ of round $round") } 'one', 'two';

        ok($_->{ladder}->wait_tracks(qw(source 180p 90p)),
           "round $round: both are transcoded") for @live;

        my @owners = $t->workers;
        kill KILL => @owners;

        ok((wait_for {
            my %now = map { $_ => 1 } $t->workers;
            keys %now == 2 && !grep { $now{$_} } @owners;
        } 20), 'the workers are killed, and others there');

        $_->{publisher}->kill for @live;
        ok(all_ended(), 'the streams end');
    }
}
