# A store that is locked, moved away, read-only, broken or full: what needs it
# gets a clear 5xx, nginx goes on, and so does the store once the cause has
# gone.  And a client that goes away does not leave its call half done.

use Livestream::Test;

use IPC::Open2;

my $t = Livestream::Test->new(workers => 1);
$t->start;

my $db = "$t->{dir}/data/livestream.db";
my ($worker) = $t->workers;

(undef, my $s) = $t->api(POST => '/livestreams',
                         { title => 'Lasting', user_id => 'u' });
my $path = "/livestreams/$s->{id}";

sub create { ($t->api(POST => '/livestreams',
                      { title => 'x', user_id => 'u' }))[0, 1, 2] }
sub get { ($t->api(GET => $path))[0] }

sub status {
    my ($row) = $t->sql("SELECT status FROM live_streams"
                        . " WHERE id = '$s->{id}'");
    return $row->{status};
}

# Holds the store's lock until the object goes away.
sub lock_store {
    my $pid = open2(my $out, my $in, 'sqlite3', $db);

    print $in ".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n";
    $in->flush;
    die "no lock\n" unless <$out> =~ /locked/;

    return sub { print $in "ROLLBACK;\n"; close $in; waitpid $pid, 0 };
}


# ---- locked

is((stat $db)[2] & 0777, 0600, 'nobody else may read the keys');

my $unlock = lock_store();

is(get(), 200, 'reading goes on while another process writes');

my $c = $t->client;
$c->send(POST => "/api/v1$path/start");
ok(!$c->readable(0.3), 'writing waits for it');
$unlock->();
is($c->recv->{status}, 200, 'and goes on');

$unlock = lock_store();

my ($status, $problem, $r) = create();
is($status, 503, 'a lock that is held for too long');
is($r->{headers}{'content-type'}, 'application/problem+json',
   'is told as a problem');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
like($problem->{detail}, qr/try again/, 'in words');
unlike($r->{body}, qr/locked|sqlite|\Q$db/, 'without the inside');
ok($t->log_like(qr/store is away: database is locked \(\Q$db\E\)/),
   'the log knows more');

# ---- clients that go away

$c = $t->client;
$c->send(POST => "/api/v1$path/stop");
my $g = $t->client;
$g->send(GET => "/api/v1$path");
ok(!$c->readable(0.3) && !$g->readable, 'two calls wait');
$_->close for $c, $g;

$unlock->();
ok((wait_for { status() eq 'stopped' }),
   'what was begun is done, though its client has gone');
is(get(), 200, 'and the worker goes on');

$unlock = lock_store();
my @crowd = map { $t->client } 1 .. 50;
$_->send(PATCH => "/api/v1$path", body => '{"title":"Patched"}',
         headers => { 'Content-Type' => 'application/json' }) for @crowd;
$crowd[$_]->close for grep { $_ % 2 } 0 .. 49;
$unlock->();
is_deeply([grep { $_->recv->{status} != 200 } @crowd[grep { $_ % 2 == 0 }
                                                     0 .. 49]], [],
          'of a crowd that is waiting, half goes away');


# ---- moved away

rename $db, "$db.away" or die;

($status, $problem, $r) = create();
is($status, 503, 'no database');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
is(get(), 503, 'nor for reading');
ok(!-e $db, 'a worker makes no other one');
ok($t->log_like(qr/unable to open database file/), 'the log says so');

rename "$db.away", $db or die;
is(get(), 200, 'and back again');
is((create())[0], 201, 'for writing, too');


# ---- another one in its place

my ($mode, $uid, $gid) = (stat $db)[2, 4, 5];

system('sqlite3', $db, ".backup $db.copy") == 0 or die;
chown $uid, $gid, "$db.copy" if $> == 0;
$t->sql("DELETE FROM live_streams WHERE id = '$s->{id}'");
is(get(), 404, 'deleted in the store');
rename "$db.copy", $db or die;
unlink "$db-wal", "$db-shm";
is(get(), 200, 'a backup that was put back is read at once');


# ---- read-only

rename $db, "$db.away" or die;
get();
chown 0, 0, "$db.away" if $> == 0;
chmod 0444, "$db.away";
rename "$db.away", $db or die;

($status, $problem, $r) = create();
is($status, 500, 'read-only');
unlike($r->{body}, qr/readonly|sqlite/i, 'the answer tells nothing');
ok($t->log_like(qr/store failed: attempt to write a readonly database/),
   'the log tells it');
is(get(), 200, 'it can be read');

chmod $mode & 0777, glob "$db $db-*";          # SQLite's own have its mode
chown $uid, $gid, $db if $> == 0;
is((create())[0], 201, 'writable again');


# ---- broken

rename $db, "$db.good" or die;
get();
Livestream::Test::write_file($db, 'This is no database. ' x 1000);
chmod 0666, $db;

is(get(), 500, 'no database but garbage');
is((create())[0], 500, 'nor for writing');
ok($t->log_like(qr/store failed: file is not a database/), 'the log says so');

# ---- a reload with it

$t->allow(qr/store "[^"]+": file is not a database/);
$t->allow(qr/the store is not ready/);
ok($t->reload, 'a reload goes through all the same');
is(get(), 500, 'for new workers it is as broken');

rename "$db.good", $db or die;
unlink "$db-wal", "$db-shm";
is(get(), 200, 'until it is whole again');

# ---- deleted, for good

unlink $db or die;
is(get(), 503, 'deleted');
ok($t->reload, 'a reload');
is(get(), 404, 'makes a new one, which is empty');
is((create())[0], 201, 'and can be used');


# ---- exits

$unlock = lock_store();
$c = $t->client;
$c->send(POST => '/api/v1/livestreams', body => '{"title":"q","user_id":"q"}',
         headers => { 'Content-Type' => 'application/json' });
ok(!$c->readable(0.3), 'a call waits');
$t->quit;
ok(!$c->readable(0.5), 'nginx is told to quit');
$unlock->();
is($c->recv->{status}, 201, 'and answers before it does');
ok($t->ended, 'then it ends');

$t->stop;


# ---- full

my $mounted;
END { system('umount', '-l', $mounted) if $mounted }

SKIP: {
    skip 'needs root, to mount a small disk', 4 if $>;

    my $t = Livestream::Test->new(workers => 1);

    system('mount', '-t', 'tmpfs', '-o', 'size=512k,mode=0777', 'tmpfs',
           "$t->{dir}/data") == 0
        or skip 'cannot mount a small disk here', 4;

    $mounted = "$t->{dir}/data";

    $t->start;

    my $full;
    for (1 .. 200) {
        ($full) = $t->api(POST => '/livestreams', {
            title => 'x', user_id => 'u', metadata => { x => 'y' x 16000 } });
        last if $full != 201;
    }

    is($full, 500, 'a disk that is full');
    ok($t->log_like(qr/store failed: database or disk is full/),
       'the log says so');

    (undef, my $list) = $t->api(GET => '/livestreams?limit=100');
    ok(@{ $list->{streams} } > 3, 'what is there can be read');

    system('mount', '-o', 'remount,size=8m', $mounted);
    is(($t->api(POST => '/livestreams', { title => 'x', user_id => 'u' }))[0],
       201, 'room again');

    $t->stop;
}

done_testing();
