# Recordings of real broadcasts: whatever a publisher or an operator does in
# the middle of one, its recording is what viewers were served, each second
# once, byte for byte.

use Livestream::Test;
use Livestream::Test::Served;

use List::Util qw(min);

my $t = Livestream::Test->new(livestream => '
    part_duration      250ms;
    segment_duration   1s;
    reconnect_window   5s;
    rung               180p 320x180 300k;
    rung               90p  160x90  100k;
');
$t->start;

my $dvr = { dvr_enabled => JSON_TRUE };


# ---- several at once: one that is watched only, one plain, one whose
# publisher drops and comes back, one with a ladder

my $watched = $t->create(title => 'Not recorded');
my $plain = $t->create(title => 'Plain', %$dvr);
my $dropped = $t->create(title => 'Dropped', %$dvr);
my $ladder = $t->create(title => 'A ladder', %$dvr,
                        settings => { enable_transcoding => JSON_TRUE });

my %p = map { $_->{id} => $t->publish($_) } $watched, $plain, $dropped;
$p{ $ladder->{id} } = $t->publish($ladder, fps => 15);

my %v = map {
    my $s = $_;
    my @tracks = $s == $ladder ? qw(180p 90p audio) : qw(source audio);
    $s->{id} => Livestream::Test::Served->new($t, $s, @tracks);
} $plain, $dropped, $ladder;

ok($t->wait_live($watched), 'the stream can be played');
ok($v{ $plain->{id} }->wait_segments(2), 'so can the recorded one');

my ($now) = wait_recordings($t, $plain, 'recording');
ok($now, 'while it is live it has a recording') or diag(notices($t));
is($now->{$_}, undef, "that has no $_ yet")
    for qw(end_time manifest_url thumbnail_url retention_until);
like($now->{recording_url},
     qr{^file:\Q$t->{dir}\E/data/media/recordings/$plain->{id}/$now->{id}/$},
     'and lies below the root');
is($t->get($t->path($plain, 'recordings', $now->{id}, 'master.m3u8'))
   ->{status}, 404, 'it cannot be played yet');
is(($t->api(DELETE => "/livestreams/$plain->{id}/recordings/$now->{id}"))[0],
   409, 'nor deleted');

ok($v{ $dropped->{id} }->wait_segments(3), 'the other has three segments');
$p{ $dropped->{id} }->kill;

ok(wait_for { status($dropped) eq 'interrupted' }, 'its publisher drops')
    or diag(notices($t));

my $again = $t->publish($dropped);
my $seen = $v{ $dropped->{id} }->segments('source');

ok($v{ $dropped->{id} }->wait_segments($seen + 3), 'and comes back')
    or diag($again->output);

is(($t->api(POST => "/livestreams/$plain->{id}/stop"))[0], 200,
   'one is stopped by the API');
$again->stop;
$p{ $ladder->{id} }->stop;

ok($v{$_->[0]{id}}->ended, "$_->[1]: viewers see its end")
    for [$plain, 'plain'], [$dropped, 'dropped'], [$ladder, 'a ladder'];

my $r = whole('plain', $plain);
is_deeply([@$r{qw(gaps breaks)}], [[], []],
          'a plain one has neither gap nor discontinuity');

my $url = $t->url($plain, 'recordings', $now->{id}, 'master.m3u8');
my $errors = `ffprobe -v error -count_frames -show_streams $url 2>&1 \\
              >/dev/null`;
is($errors, '', 'ffmpeg plays it from its URL');
my $duration = `ffprobe -v error -show_entries format=duration -of csv=p=0 \\
                $url`;
cmp_ok(abs($duration - $r->{duration}), '<', 0.1, 'and knows how long it is')
    or diag("$duration instead of $r->{duration}");

$r = whole('dropped', $dropped);
is(scalar @{ $r->{breaks} }, 1,
   'a reconnect is one discontinuity in one recording');

$r = whole('a ladder', $ladder);
is_deeply([sort grep { $_ ne 'source' } keys %{ $r->{tracks} }],
          [qw(180p 90p audio)], 'a ladder has all of its tracks');
is(scalar @{ $r->{master}{variants} }, keys(%{ $r->{tracks} }) - 1,
   'and its variants');

is_deeply([recordings($t, $watched)], [],
          'who does not ask for it is not recorded');
$p{ $watched->{id} }->stop;


# ---- the next day: another recording

is(($t->api(POST => "/livestreams/$plain->{id}/start"))[0], 200,
   'the key is used again');

my $p = $t->publish($plain);
my $v = Livestream::Test::Served->new($t, $plain, qw(source audio));
ok($v->wait_segments(3), 'for another broadcast') or diag($p->output);

# which the old worker keeps when nginx is reloaded

my @old = $t->workers;

ok($t->reload, 'nginx is reloaded in the middle of it');
ok((wait_for {
    my @all = $t->workers('all');
    1 == grep { my $pid = $_; grep { $_ == $pid } @all } @old;
} 20), 'only the worker with the publisher stays');

$seen = $v->segments('source');
ok($v->wait_segments($seen + 3), 'viewers see nothing of that');
ok($t->reload, 'twice');
ok($v->wait_segments($seen + 6), 'nor of that');
$p->stop;
ok($v->ended, 'its publisher ends it');

my @all = wait_recordings($t, $plain, 'ready', 2);
is(scalar @all, 2, 'two broadcasts are two recordings');

$v{ $plain->{id} } = $v;
$r = whole('reloaded', $plain);
is_deeply([@$r{qw(gaps breaks)}], [[], []], 'a reload leaves no trace');

my @ready = $t->log =~ /recording (\S+) is ready/g;
my %times;
$times{$_}++ for @ready;
is_deeply([grep { $times{$_} > 1 } keys %times], [],
          'no recording was finished by two keepers');


# ---- nginx stops in the middle

for my $signal (qw(QUIT TERM)) {
    my $s = $t->create(title => $signal, %$dvr);

    $p = $t->publish($s);
    $v{ $s->{id} } = $v = Livestream::Test::Served->new($t, $s,
                                                        qw(source audio));
    ok($v->wait_segments(3), 'a broadcast') or diag($p->output);

    $t->remember;
    kill $signal => $t->master;
    ok($t->ended, "$signal: nginx stops in the middle of it");
    $v->stop;
    $p->stop;

    $t->start;
    whole($signal, $s);
}

$t->stop;
done_testing();


sub status {
    my ($s) = @_;

    my ($row) = $t->sql("SELECT status FROM live_streams"
                        . " WHERE id = '$s->{id}'");
    return $row->{status};
}


# The newest recording of a stream, fetched, is what its row says and what
# viewers were served.
sub whole {
    my ($name, $s) = @_;

    my @all = recordings($t, $s);
    my @rows = wait_recordings($t, $s, 'ready',
                                                         scalar @all);
    my $row = $rows[-1];

    ok($row, "$name: its recording is ready") or diag(notices($t));
    return {} unless $row;

    my $v = $v{ $s->{id} };
    my $r = $v->recording($row->{id});

    is_deeply([$r->faults], [], "$name: it is what viewers were served");
    is($r->complaints, '', "$name: ffmpeg decodes it");

    cmp_ok(abs($row->{duration} - $r->{duration}), '<', 0.001,
           "$name: its duration is that of its segments");
    is($row->{size}, $r->{size}, "$name: so is its size");

    my $start = min(map { seconds($_->{segments}[0]{pdt}) }
                    values %{ $r->{tracks} });
    my ($from, $to) = map { seconds($row->{$_}) } qw(start_time end_time);

    cmp_ok(abs($from - $start), '<', 0.002,
           "$name: its start is that of the first one");
    cmp_ok(abs($to - $from - $row->{duration}), '<', 0.25,
           "$name: its end comes so much later");
    ok($row->{retention_until}, "$name: it is kept for a while");

    pictures($name, $s, $row);

    return $r;
}


sub pictures {
    my ($name, $s, $row) = @_;

    my $base = $t->path($s, 'recordings', $row->{id});

    is($row->{manifest_url}, "$base/master.m3u8", "$name: manifest_url");
    is($row->{thumbnail_url}, "$base/poster.jpg", "$name: thumbnail_url");

    my $vtt = $t->get("$base/storyboard.vtt");
    my @cues = $vtt->{body} =~ /^(\S+) --> /mg;

    is(scalar @cues, POSIX::ceil($row->{duration} / 10 - 0.01),
       "$name: its storyboard has a picture every ten seconds")
        or diag($vtt->{body});

    for my $picture ('poster.jpg', 'storyboard-0.jpg') {
        my $r = $t->get("$base/$picture");
        my $file = "$t->{dir}/picture.jpg";

        Livestream::Test::write_file($file, $r->{body});
        is($r->{status} . `ffmpeg -v error -i $file -f null - 2>&1`, 200,
           "$name: $picture is one");
    }
}


sub seconds { Livestream::Test::Served::Recording::seconds($_[0]) }
