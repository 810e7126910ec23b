# kill -9 at any moment, of the publisher's worker, of all of nginx and of the
# worker that finishes or converts: recordings are closed up to the last whole
# part, and everything that viewers were served is in them, byte for byte.
# So it is when the index is damaged, or the store away for a while.

use Livestream::Test;
use Livestream::Test::Served;

my $t = Livestream::Test->new(livestream => '
    part_duration     250ms;
    segment_duration  1s;
    reconnect_window  5s;
    cleanup_interval  4s;
');
$t->allow(qr/exited on signal 9/);
$t->start;

my (%p, %v);


# ---- the publisher's worker; one publisher comes back, one does not

my ($back, $gone) = live('Comes back', 'Does not');

kill KILL => threads('ls-');

ok((wait_for { status($back) eq 'interrupted' } 20),
   'the worker of a broadcast is killed') or diag(notices($t));

$p{$_->{id}}->wait for $back, $gone;

my $seen = $v{ $back->{id} }->segments('source');
$p{ $back->{id} } = $t->publish($back);

ok($v{ $back->{id} }->wait_segments($seen + 3), 'its publisher comes back')
    or diag(notices($t));
$p{ $back->{id} }->stop;

ok($v{ $back->{id} }->ended, 'and ends it');
ok($v{ $gone->{id} }->ended, 'the other ends by itself');

my $r = whole('comes back', $back);
is(scalar @{ $r->{breaks} }, 1, 'one discontinuity is in it');
whole('does not', $gone);


# ---- all of nginx, just behind a segment's end

my @s = live(map { "Killed $_" } 1 .. 3);

ok((wait_for { parts_open($s[0]) == 0 } 20), 'a segment was just closed');
crash();
$t->start;
whole("killed $_", $s[$_ - 1]) for 1 .. 3;


# ---- in the middle of one, and then somebody damages what is left

@s = live('Killed in a segment', 'Torn', 'A line cut', 'Rubbish',
          'No index', 'No head');

ok((wait_for { parts_open($s[0]) == 2 } 20), 'a segment has two parts');
crash();

my @index = map { folder($_) . '/index' } @s;

append(newest($s[1]), "\0\0\2\0moof" . 'x' x 100);
truncate $index[2], (-s $index[2]) - 20 or die;
append($index[3], "\xff\0segment source 1 2\nopen\n" x 1000);
unlink $index[4] or die;
Livestream::Test::write_file($index[5], "livestream-recording 1 x\n");

$t->start;
whole('killed in a segment', $s[0]);
whole('half a part behind the last whole one', $s[1]);
whole('an index without its end', $s[2]);
whole('an index with rubbish', $s[3]);
whole('an index that is lost', $s[4]);
whole('an index that says nothing', $s[5]);
ok($t->log_like(qr/was made again from the files in/), 'which the log tells');


# ---- the worker that finishes, and that converts

my $long = $t->create(title => 'Long', dvr_enabled => JSON_TRUE);

# while it waits for its publisher, nginx is reloaded: who has a thread for it
# then, is at it

$t->publish_fast($long, seconds => 3600)->stop;
ok($t->reload, 'a new keeper');

ok(hit('dvr-finish'), 'a long one is being finished when the worker is '
   . 'killed');

my ($row) = wait_recordings($t, $long, 'ready');
ok($row, 'another worker finishes it') or diag(notices($t));
cmp_ok($row->{duration}, '>', 3599, 'all of it');

my $base = "/livestreams/$long->{id}/recordings/$row->{id}";

is(($t->api(POST => "$base/convert", {}))[0], 202, 'it is to be converted');
ok(hit('dvr-convert'), 'which is begun when the worker is killed');

my $done = wait_for {
    my $c = ($t->api(GET => $base))[1]{conversion};
    $c->{status} =~ /^(?:ready|failed)$/ && $c;
} 60;

is($done->{status}, 'ready', 'another worker does it again')
    or diag(notices($t));

my $url = "http://127.0.0.1:$t->{http}$done->{video_url}";
my $seconds = `ffprobe -v error -show_entries format=duration -of csv=p=0 \\
               $url`;
cmp_ok(abs($seconds - $row->{duration}), '<', 2.1, 'it is as long');

my @files = map { s{.*/}{}r } glob folder($long, 'videos') . '/*';
is_deeply([grep { !/^[0-9a-f-]{36}\.mp4$/ } @files], [],
          'nothing half done is left') or diag("@files");


# ---- a store that is away at the end, and one that has lost the row

my ($away, $lost) = live('Store away', 'Row lost');
my $db = "$t->{dir}/data/livestream.db";

my ($recording) = recordings($t, $lost);
$t->sql("DELETE FROM dvr_recordings WHERE id = '$recording->{id}'");

rename $db, "$db.away" or die "$db: $!\n";

$p{$_->{id}}->stop for $away, $lost;
ok($v{$_->{id}}->ended, 'a broadcast ends while the store is away')
    for $away, $lost;
is(($t->api(GET => "/livestreams/$away->{id}"))[0], 503, 'so it is');

rename "$db.away", $db or die "$db: $!\n";

whole('the store was away', $away);
whole('its row was lost', $lost);
is((recordings($t, $lost))[0]{id},
   $recording->{id}, 'under its name');

$t->stop;
done_testing();


# ---- helpers

# Streams that are recorded and watched, each with a few segments.
sub live {
    my @streams = map { $t->create(title => $_, dvr_enabled => JSON_TRUE) } @_;

    for my $s (@streams) {
        my $id = $s->{id};

        $p{$id} = $t->publish($s, size => '160x90', fps => 24);
        $v{$id} = Livestream::Test::Served->new($t, $s, qw(source audio));
    }

    for my $s (@streams) {
        $v{ $s->{id} }->wait_segments(2)
            or die "$s->{title}: not live\n", notices($t);
    }

    return @streams;
}


sub status {
    my ($s) = @_;

    my ($row) = $t->sql("SELECT status FROM live_streams"
                        . " WHERE id = '$s->{id}'");
    return $row->{status};
}


# The workers with a thread whose name begins with that.
sub threads {
    my ($name) = @_;

    return grep {
        grep { Livestream::Test::read_file($_) =~ /^\Q$name/ }
            glob "/proc/$_/task/*/comm"
    } $t->workers('all');
}


# Kills the worker that has the thread, as soon as there is one.
sub hit {
    my ($name) = @_;

    return wait_for { kill KILL => threads($name) } 20;
}


sub parts_open {
    my ($s) = @_;

    my $m = $t->playlist($s) or return -1;
    return scalar @{ $m->{open}{parts} };
}


sub crash {
    $t->remember;

    # a master that stands still can't make other workers
    kill STOP => $t->master;
    kill KILL => $t->workers('all'), $t->master;

    ok($t->ended(20), 'all of nginx is killed');

    $_->stop for values %v, values %p;
}


sub folder {
    my ($s, $name) = @_;

    my $root = "$t->{dir}/data/media/recordings/$s->{id}";

    return "$root/$name" if $name;
    return (grep { !/videos$/ } glob "$root/*")[0];
}


# the segment that is being written
sub newest {
    my ($s) = @_;

    my %n = map { /(\d+)\.m4s$/ ? ($1 => $_) : () }
            glob folder($s) . '/source/segment-*.m4s';

    return $n{ (sort { $b <=> $a } keys %n)[0] };
}


sub append {
    my ($path, $bytes) = @_;

    open my $fh, '>>:raw', $path or die "$path: $!\n";
    print $fh $bytes;
    close $fh;
}


sub whole {
    my ($name, $s) = @_;

    my ($row) = wait_recordings($t, $s, 'ready');

    ok($row, "$name: its recording is ready") or diag(notices($t));
    return {} unless $row;

    my $r = $v{ $s->{id} }->recording($row->{id});

    is_deeply([$r->faults], [], "$name: it is what viewers were served");
    is($r->complaints, '', "$name: ffmpeg decodes it");

    return $r;
}
