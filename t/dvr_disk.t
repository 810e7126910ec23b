# The disk of recordings runs full: what has expired goes first, then nothing
# new is recorded, but live goes on.  When it is full in the middle of a
# recording, that ends with what viewers were served by then, and is finished
# as soon as there is room for its playlists.

use Livestream::Test;
use Livestream::Test::Served;

plan skip_all => 'needs root, to mount a small disk' if $>;

my $t = Livestream::Test->new(livestream => '
    part_duration       250ms;
    segment_duration    1s;
    reconnect_window    1s;
    dvr                 on;
    recording_storage   file:%%DIR%%/disk;
    recording_min_free  4m;
');
my $disk = "$t->{dir}/disk";

mkdir $disk or die "$disk: $!\n";
system('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', $disk) == 0
    or plan skip_all => 'cannot mount a small disk here';

END { system('umount', '-l', $disk) if $disk && -e $disk }

chown +(getpwnam 'nobody')[2, 3], $disk;
$t->start;


# ---- room for two, of which one has expired

my ($expired, $fresh) = map {
    my $s = $t->create(title => $_);
    my $p = $t->publish($s, size => '160x90', fps => 12);
    my $v = Livestream::Test::Served->new($t, $s, qw(source audio));

    ok($v->wait_segments(2), "$_: a broadcast") or diag($p->output);
    $p->stop;
    ok($v->ended, "$_: ends");

    my ($row) = wait_recordings($t, $s, 'ready');
    ok($row, "$_: is recorded") or diag(notices($t));
    { s => $s, v => $v, row => $row };
} 'Expired', 'Fresh';

$t->sql("UPDATE dvr_recordings SET retention_until"
        . " = '2001-01-01T00:00:00.000Z' WHERE id = '$expired->{row}{id}'");

is($t->get($expired->{row}{manifest_url})->{status}, 200,
   'until the next cleanup it stays');

fill(5);

ok($t->log_like(qr/less than "recording_min_free": what has expired/, 20),
   'the disk runs full, the log tells what happens');
ok((wait_for { !-e folder($expired) } 20), 'what has expired goes')
    or diag(notices($t));
ok(-e folder($fresh), 'and nothing else');

my $s = $t->create(title => 'Not recorded');
my $p = $t->publish($s, size => '160x90', fps => 12);

ok($t->wait_live($s), 'a new broadcast is live');
ok($t->log_like(qr/is not recorded, less than "recording_min_free"/),
   'but not recorded, and the log says so');
is_deeply([recordings($t, $s)], [],
          'it has no recording');
is_deeply([glob "$disk/$s->{id}*"], [], 'nor files there');
$p->stop;

unlink "$disk/fill";
ok($t->log_like(qr/there is room for recordings .* again/, 20),
   'there is room again');


# ---- full in the middle of it

my $large = { s => $t->create(title => 'Large') };

$p = $t->publish($large->{s}, size => '640x360', gop => 1,
                 args => ['-b:v', '4M', '-minrate', '4M', '-maxrate', '4M',
                          '-bufsize', '500k', '-x264-params',
                          'nal-hrd=cbr:threads=1']);
$large->{v} = Livestream::Test::Served->new($t, $large->{s},
                                            qw(source audio));

ok($large->{v}->wait_segments(2), 'a new broadcast is recorded');

my ($row) = recordings($t, $large->{s});
ok($row, 'it has a recording');

ok((wait_for { status($large->{s}) eq 'error' } 40),
   'the disk is full: it ends with an error') or diag(notices($t));
ok($t->log_like(qr/stream $large->{s}{id}: ended by an error: .*No space/),
   'the log says why');
$p->wait(10);
$large->{v}->ended(3);
$large->{v}->stop;

is($t->get($fresh->{row}{manifest_url})->{status}, 200,
   'what was recorded before is still played');

fill(100);
system('mount', '-o', 'remount,size=20m', $disk);
unlink "$disk/fill";

($large->{row}) = wait_recordings($t, $large->{s},
                                                            'ready', 1, 40);
ok($large->{row}, 'with room again its recording is ready')
    or diag(notices($t));

for my $one ($fresh, $large) {
    my $r = $one->{v}->recording($one->{row}{id});

    is_deeply([$r->faults], [], "$one->{s}{title}: what viewers were served");
    is($r->complaints, '', "$one->{s}{title}: ffmpeg decodes it");
}

$t->stop;
done_testing();


sub folder { "$disk/$_[0]{s}{id}/$_[0]{row}{id}" }


sub status {
    my ($s) = @_;

    my ($row) = $t->sql("SELECT status FROM live_streams"
                        . " WHERE id = '$s->{id}'");
    return $row->{status};
}


# so many megabytes, or as many as there is room for
sub fill {
    my ($megabytes) = @_;

    open my $fh, '>:raw', "$disk/fill" or die "$disk/fill: $!\n";

    for (1 .. $megabytes * 16) {
        syswrite $fh, 'x' x 65536 or last;
    }
}
