# A ladder that does not survive what happens to a stream in its life: reload,
# reconnect, takeover, a killed worker, another size; and threads that survive
# it.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Follow;
use Livestream::Test::Ladder;

use List::Util qw(max min sum0);

use constant PART => 0.5;       # seconds

my $t = Livestream::Test->new(livestream => 'transcode on; max_transcodes 32;
                                             rung 180p 320x180 200k;
                                             rung 90p 160x90 80k;
                                             video_preset ultrafast;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 60;
                                             reconnect_window 5s;');
$t->start;

my @ladder = qw(source 180p 90p);
my $bench = Livestream::Bench->new($t);
my %threads = map { $_ => sum0(values %{ Livestream::Test::Ladder::threads(
                                             $t) }) } 'before';

sub clip {
    my (%o) = @_;

    return $bench->clip(gop => 2, audio => ['aac', '-b:a', '256k'], %o,
                        video => ['libx264', '-preset', 'veryfast', '-bf', 2,
                                  '-sc_threshold', 0]);
}

my $clip = clip();
my $tall = clip(size => '180x320');
my $large = clip(size => '480x270');

# all of these are live at once

my %reloaded = begin('reloaded', $clip);
my %again = begin('again', $clip);
my %other = begin('other', $clip);
my %taken = begin('taken over', $clip);
my %long = begin('long GOPs', clip(gop => 10, seconds => 20));
my %short = begin('short GOPs', clip(gop => 0.5));
my %turns = begin('turns', $clip, '--change-to', "6000:$tall");
my %grows = begin('grows', $clip, '--change-to', "6000:$large");

subtest 'a reload in mid-stream' => \&reload, %reloaded;
subtest 'a publisher that comes back' => \&comes_back, $clip, %again;
subtest 'one that comes back with another size' => \&comes_back, $tall,
        %other;
subtest 'a silent one that is replaced' => \&takeover, %taken;
subtest 'GOPs of ten seconds' => \&long_gops, %long;
subtest 'GOPs of half a second' => \&short_gops, %short;
subtest 'another shape in mid-stream' => \&another, '180x320', '90x160',
        %turns;
subtest 'another size in mid-stream' => \&another, '320x180', '160x90',
        %grows;
subtest 'a worker that is killed' => \&killed;
subtest 'threads' => \&threads_end;
subtest 'a graceful exit' => \&quit_;

$t->stop;
done_testing();


sub begin {
    my ($title, $file, @options) = @_;

    my $s = $t->create(title => $title);

    return (stream => $s, ladder => Livestream::Test::Ladder->new($t, $s),
            publisher => $bench->publish($s, $file, '--loop', @options));
}


# All tracks of a stream now: by the rules, side by side, whole.
sub sound {
    my ($l, $name, $edge) = @_;

    is_deeply([$l->problems], [], "$name: the playlists keep the rules");

    my $breaks = $l->breaks;
    my %different = map { $_ => 1 } values %$breaks;
    is(scalar keys %different, 1, "$name: broken at the same places")
        or diag(explain($breaks));

    my @msns = $l->listed;
    my $media = $l->media(@msns[max(0, $#msns - 4) .. $#msns]);

    is_deeply([Livestream::Test::Ladder::misaligned($media, $edge)], [],
              "$name: cut at the same times");
    is_deeply([$media->{$_}->faults], [], "$name: $_: samples are right")
        for sort keys %$media;

    return $media;
}


sub decodes {
    my ($l, @msns) = @_;

    for my $track ($l->tracks) {
        my $m = Livestream::Test::Media->new($t, $l->{stream}, $track, @msns);
        is($m->complaints, '', "$track: ffmpeg decodes @msns");
    }
}


sub reload {
    my (%live) = @_;

    my $l = $live{ladder};

    ok($l->wait_tracks(@ladder), 'the ladder is there') or return;

    my %f = map { $_ => Livestream::Test::Follow->new($t, $live{stream}, $_) }
            qw(180p audio);
    $_->run(0.5) for values %f;

    my @old = $t->workers;

    ok($t->reload, 'nginx was reloaded');
    ok((wait_for {
        my %all = map { $_ => 1 } $t->workers('all');
        my $client = $f{'180p'}{client};
        !$client || $client->closed || !grep { $all{$_} } @old;
    } 5), 'old workers leave their viewers');
    $f{'180p'}->run(5);
    $f{audio}->run(0.5);

    for my $track (sort keys %f) {
        is_deeply($f{$track}->problems, [], "$track: goes on");
        is($f{$track}{gaps}, 0, "$track: without a gap");
        is($f{$track}{discontinuities}, 0, "$track: nor a break");
        is_deeply([keys %{ $f{$track}{statuses} }], [200],
                  "$track: always answered");
    }

    ok($live{publisher}->running, 'the publisher noticed nothing');
    sound($l, 'later');
    $live{publisher}->stop;
}


sub comes_back {
    my ($file, %live) = @_;

    my $l = $live{ladder};

    ok($l->wait_tracks(@ladder) && $l->wait_segment(1), 'the ladder is there')
        or return;

    $live{publisher}->kill;
    my $again = $bench->publish($live{stream}, $file, '--loop');

    broken($l, $again);

    is($l->variants->{'180p'}{RESOLUTION},
       $file eq $tall ? '180x320' : '320x180', 'in its size');

    $again->stop;
}


# goes on behind a discontinuity, in all tracks; their ends before it may be
# $edge apart
sub broken {
    my ($l, $publisher, $edge) = @_;

    my $break = wait_for {
        my ($first) = values %{ $l->breaks };
        $first;
    } 20;

    ok($break, 'it goes on behind a discontinuity')
        or diag($publisher->output), return;

    my ($last) = $break =~ /(\d+)$/;
    ok($l->wait_segment($last + 1), 'in all tracks') or return;

    sound($l, 'then', $edge);
    decodes($l, $last, $last + 1);
    is_deeply([sort keys %{ $l->variants }], [sort @ladder],
              'with all of the ladder');
}


sub takeover {
    my (%live) = @_;

    my $l = $live{ladder};

    ok($l->wait_tracks(@ladder) && $l->wait_segment(1), 'the ladder is there')
        or return;

    $live{publisher}->freeze;

    my $heir;

    ok((wait_for {
        $heir = $bench->publish($live{stream}, $clip, '--loop')
            if !$heir || defined $heir->wait(0);
        my ($first) = values %{ $l->breaks };
        $first;
    } 40), 'another one takes over') or return;

    broken($l, $heir);
    $live{publisher}->thaw;
    $heir->stop;
}


sub long_gops {
    my (%live) = @_;

    my $l = $live{ladder};

    is_deeply([$l->tracks], [sort qw(180p 90p audio)],
              'the source is not passed through') or return;
    ok($l->wait_segment(6), 'it goes on');

    my $media = sound($l, 'rungs');
    two_seconds($media->{$_}, $_) for qw(180p 90p);

    $live{publisher}->stop;
}


sub two_seconds {
    my ($m, $track) = @_;

    my @at = map { $_->{pts} } $m->idrs;
    my @apart = map { sprintf '%.2f', $at[$_] - $at[$_ - 1] } 1 .. $#at;

    is_deeply(\@apart, [('2.00') x @apart],
              "$track: a key frame every two seconds");
}


sub short_gops {
    my (%live) = @_;

    my $l = $live{ladder};

    is_deeply([$l->tracks], [sort @ladder, 'audio'], 'the ladder is there')
        or return;

    my $media = sound($l, 'tracks');

    for my $track (qw(180p 90p)) {
        my @at = map { $_->{pts} } $media->{$track}->idrs;
        my @apart = map { $at[$_] - $at[$_ - 1] } 1 .. $#at;

        cmp_ok(max(@apart), '<', 2.001, "$track: key frames often enough");
        cmp_ok(min(@apart), '>', 0.999, "$track: and not too often");
    }

    $live{publisher}->stop;
}


sub another {
    my ($size, $smaller, %live) = @_;

    my $l = $live{ladder};

    broken($l, $live{publisher});

    my $variants = $l->variants;
    is($variants->{'180p'}{RESOLUTION}, $size, 'what 180p is then');
    is($variants->{'90p'}{RESOLUTION}, $smaller, 'and 90p');

    $live{publisher}->stop;
}


# the worker that has the only stream that is left
sub owner {
    my ($owner) = grep {
        grep { Livestream::Test::read_file($_) =~ /^ls-/ }
            glob "/proc/$_/task/*/comm"
    } $t->workers;

    return $owner;
}


sub killed {
    my %live = begin('killed', $clip);
    my $l = $live{ladder};

    ok((wait_for {
        my @rows = $t->sql("SELECT id FROM live_streams
                            WHERE status IN ('live', 'interrupted')");
        @rows == 1;
    } 20), 'it is the only stream');
    ok($l->wait_tracks(@ladder) && $l->wait_segment(1), 'the ladder is there')
        or return;

    kill KILL => owner();

    ok((wait_for { ($t->sql("SELECT status FROM live_streams
                             WHERE id = '$live{stream}{id}'"))[0]{status}
                   eq 'interrupted' }), 'it is interrupted');

    my $again = $bench->publish($live{stream}, $clip, '--loop');

    # it had not published a part of each track yet, or two of a late one
    broken($l, $again, 2 * PART);
    $again->stop;
    $t->allow(qr/exited on signal 9/);
}


# of none of the streams that there were
sub threads_end {
    ok((wait_for {
        my ($row) = $t->sql("SELECT count(*) AS n FROM live_streams
                             WHERE status <> 'ended'");
        $row->{n} == 0;
    } 30), 'all streams have ended');

    ok((wait_for {
        $threads{now} = sum0(values %{
            Livestream::Test::Ladder::threads($t) });
        $threads{now} <= $threads{before};
    } 5), 'and all of their threads')
        or diag(explain(Livestream::Test::Ladder::threads($t)));
}


sub quit_ {
    my %live = begin('quit', $clip);
    my $l = $live{ladder};

    ok($l->wait_tracks(@ladder) && $l->wait_segment(1), 'the ladder is there')
        or return;

    # two parts ahead: cannot be answered by what is there
    my %client;

    for my $track ($l->tracks) {
        my $m = $t->playlist($live{stream}, $track);
        my $ahead = @{ $m->{open}{parts} } + 2;

        $client{$track} = $t->client(timeout => 20);
        $client{$track}->send(
            GET => $t->path($live{stream}, $track, 'playlist.m3u8')
            . "?_HLS_msn=" . ($m->{open}{msn} + 1) . "&_HLS_part=$ahead");
    }

    $t->remember;
    $t->quit;

    my %end = map {
        my $r = $client{$_}->recv;
        $_ => Livestream::Test::M3U8->parse($r->content, $r);
    } sort keys %client;

    ok($end{$_}{endlist}, "$_: its viewers see the end") for sort keys %end;

    my %last = map { $_->{open}{msn} => 1 } values %end;
    is(scalar keys %last, 1, 'all tracks end with the same segment');

    ok($t->ended(15), 'nginx ends although the publisher would not');
    $live{publisher}->wait(10);
}
