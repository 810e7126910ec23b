# A store that cannot be used when nginx starts: nginx says which file and why,
# and does not start; on a reload it goes on as it was.

use Livestream::Test;

# One that has this in place of its `store` directive.
sub with_store {
    my ($store, %option) = @_;

    my $t = Livestream::Test->new(workers => 1, %option);
    my $text = $t->conf =~ s/store +sqlite:\S+;/$store/r;

    Livestream::Test::write_file("$t->{dir}/nginx.conf", $text);
    return $t;
}

# "nginx -t", which may complain.
sub tested {
    my ($t) = @_;

    $t->allow(qr/\[emerg\]/);
    return $t->test_conf;
}

# It must not start, and say so.
sub refuses {
    my ($name, $t, $why) = @_;

    $t->{pid} = $t->spawn('nginx', $t->{binary}, '-p', $t->{dir}, '-c',
                          "$t->{dir}/nginx.conf", '-e',
                          "$t->{dir}/error.log");

    ok($t->ended, "$name: nginx does not start");
    like($t->log, qr/\[emerg\].*$why/, "$name: and says why");

    $t->allow(qr/./);
    $t->{stopped} = 1;
}


# ---- configuration

my $t = with_store('', without => ['ngx_livestream_sqlite_module']);
my ($status, $said) = tested($t);
is($status, 1, 'without the engine\'s module');
like($said, qr/load_module \S*ngx_livestream_sqlite_module\.so/,
     'the line that is missing is named');

for (['store mysql:/x;', qr/ngx_livestream_mysql_module\.so/],
     ['store sqlite;', qr/store "sqlite" has no scheme/],
     ['store /var/lib/x.db;', qr/has no scheme/],
     ['store :x;', qr/has no scheme/]) {
    ($status, $said) = tested(with_store($_->[0]));
    is($status, 1, $_->[0]);
    like($said, $_->[1], 'is told');
}

$t = with_store('');
($status, $said) = $t->test_conf;
is($status, 0, 'no store at all') or diag($said);
ok(!-e "$t->{dir}/data/media/livestream.db", 'nginx -t makes no database');
$t->start;
ok(-s "$t->{dir}/data/media/livestream.db",
   'it is livestream.db in the root when nginx starts');
is(($t->api(POST => '/livestreams', { title => 'x', user_id => 'u' }))[0],
   201, 'and can be used');
$t->stop;

$t = with_store("store sqlite:some/new/folder/x.db;");
$t->start;
is(($t->api(POST => '/livestreams', { title => 'x', user_id => 'u' }))[0],
   201, 'a relative path, folders that are not there yet');
ok(-s "$t->{dir}/some/new/folder/x.db", 'they are made under the prefix');
$t->stop;


# ---- start

refuses('a folder that cannot be made',
        with_store('store sqlite:/proc/no/such/livestream.db;'),
        qr{store's folder "/proc/no/such" cannot be created});
refuses('no file', with_store('store sqlite:/tmp/;'), qr/names no file/);
refuses('a folder in its place', with_store('store sqlite:/tmp;'),
        qr{store "/tmp" cannot be opened.*Is a directory});

$t = with_store('store sqlite:garbage.db;');
Livestream::Test::write_file("$t->{dir}/garbage.db", 'Not a database. ' x 99);
refuses('garbage', $t, qr{/garbage\.db": file is not a database});

$t = Livestream::Test->new(workers => 1);
$t->start;
$t->sql('INSERT INTO schema_migrations (version, name)'
        . " VALUES (999, 'future')");
$t->allow(qr/is of a newer version|the store is not ready/);
ok($t->reload, 'a reload with a database of a newer version');
ok($t->log_like(qr/livestream\.db": is of a newer version/), 'says so');
is(($t->api(GET => '/livestreams'))[0], 200, 'but ends nothing');
$t->stop;
$t->{stopped} = 0;
refuses('a newer version', $t, qr/is of a newer version/);

my @known = glob 'sql/*.sqlite.sql';
my ($row) = $t->sql('SELECT count(*) AS n FROM schema_migrations');
is($row->{n}, @known + 1, 'and nothing is migrated');


SKIP: {
    skip 'needs root, whose folder it is', 2 if $>;

    $t = with_store('store sqlite:theirs/x.db;');
    mkdir "$t->{dir}/theirs", 0755;
    $t->start;
    ok($t->log_like(qr{\[warn\].*/theirs" seems not to be writable by}),
       'a folder of somebody else is told');
    ok(!(stat "$t->{dir}/theirs")[4], 'and stays his');
    $t->stop;
}


# ---- what is there is kept

$t = Livestream::Test->new(workers => 1);
$t->start;
(undef, my $s) = $t->api(POST => '/livestreams',
                         { title => 'Kept', user_id => 'u' });
$t->sql("UPDATE live_streams SET status = 'live' WHERE id = '$s->{id}'");

my @migrations = $t->sql('SELECT * FROM schema_migrations');
is($migrations[0]{name}, 'livestream', 'migrations are written down');

$t->restart_hard;
is_deeply([$t->sql('SELECT * FROM schema_migrations')], \@migrations,
          'and not applied again');
(undef, my $again) = $t->api(GET => "/livestreams/$s->{id}");
is($again->{title}, 'Kept', 'streams outlive nginx');
is($again->{status}, 'ended', 'but none stays live');
$t->stop;


# ---- the API without what it needs

$t = with_store('', without => ['ngx_livestream_llhls_module']);
my $text = $t->conf;
$text =~ s/livestream \{.*?\n\}//s;
$text =~ s/rtmp \{.*?\n\}\n//s;
Livestream::Test::write_file("$t->{dir}/nginx.conf", $text);
($status, $said) = tested($t);
is($status, 1, 'no livestream{}');
like($said, qr/"livestream_api" needs a livestream\{\} block/, 'is told');

for (['location ~ ^/x/ { livestream_api; }', qr/given by a prefix/],
     ['location /x/ { livestream_api; livestream_api; }', qr/duplicate/],
     ['location /x/ { livestream_api on; }', qr/number of arguments/]) {
    ($status, $said) = tested(Livestream::Test->new(locations => $_->[0]));
    is($status, 1, $_->[0]);
    like($said, $_->[1], 'is told');
}

$t = Livestream::Test->new;
$text = $t->conf =~ s{publish_url +\S+;}{'publish_url rtmp://'
                                         . 'x' x 220 . '/live;'}er;
Livestream::Test::write_file("$t->{dir}/nginx.conf", $text);
($status, $said) = tested($t);
is($status, 1, 'a publish_url that is too long for its column');
like($said, qr/needs a shorter "publish_url"/, 'is told');

done_testing();
