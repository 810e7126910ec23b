# The REST API of recordings: what is listed and shown, how long one is kept,
# and that of conversions, deletions and stores that go away at a bad moment
# each leaves one answer and one truth.

use Livestream::Test;

use IPC::Open2;
use JSON::PP;

# the module that has the keeper is left out: rows stay as they are put
my $t = Livestream::Test->new(livestream => 'default_dvr_window 90m;',
                              without => ['ngx_livestream_llhls_module']);
$t->start;

my $s = $t->create(title => 'A concert', user_id => 'u-1');
my $other = $t->create(title => 'Another', user_id => 'u-2');
my $base = "/livestreams/$s->{id}/recordings";
my $n = 0;

# Puts a recording into the store, as the keeper would have it.
sub recording {
    my (%field) = @_;

    my $minute = sprintf '%02d:%02d', $n / 60, $n % 60;

    %field = (
        id             => sprintf('00000000-0000-4000-8000-%012d', ++$n),
        live_stream_id => $s->{id},
        start_time     => "2026-01-31T$minute:00.000Z",
        status         => 'ready',
        %field,
    );

    insert('dvr_recordings', %field);
    return $field{id};
}

sub insert {
    my ($table, %field) = @_;

    my @names = sort keys %field;
    my $values = join ', ', map {
        defined ? "'" . s/'/''/gr . "'" : 'NULL'
    } @field{@names};

    $t->sql("INSERT INTO $table (" . join(', ', @names)
            . ") VALUES ($values)");
}

sub row {
    my ($table, $id) = @_;

    my $key = $table eq 'dvr_conversions' ? 'recording_id' : 'id';
    my ($row) = $t->sql("SELECT * FROM $table WHERE $key = '$id'");
    return $row;
}

sub get { ($t->api(GET => "$base/$_[0]"))[1] }
sub status_of { ($t->api(@_))[0] }
sub convert { $t->api(POST => "$base/$_[0]/convert", $_[1]) }
sub videos { ($t->sql('SELECT count(*) AS n FROM videos'))[0]{n} }

# A problem of RFC 9457 with that status and, where it is given, field.
sub problem {
    my ($name, $status, $field, $method, $path, $body) = @_;

    my ($got, $p, $r) = $t->api($method, $path, $body);

    is_deeply([$got, $p->{status}, $p->{field},
               $r->{headers}{'content-type'}],
              [$status, $status, $field, 'application/problem+json'], $name)
        or diag($r->{body});
    unlike($r->{body}, qr/SELECT|UPDATE|INSERT|dvr_|sqlite/,
           "$name: says nothing of the inside");

    return $p;
}


# ---- the window of a new stream

is($s->{dvr_window}, 5400, 'dvr_window is default_dvr_window');
is($t->create(dvr_window => 60)->{dvr_window}, 60, 'unless it is given');


# ---- list

my ($status, $list) = $t->api(GET => $base);
is($status, 200, 'a stream without recordings');
is_deeply($list, { recordings => [], limit => 20, offset => 0 },
          'has an empty list');

problem('a stream that there is not', 404, undef, GET =>
        '/livestreams/01234567-89ab-cdef-0123-456789abcdef/recordings');

my @all = map { recording() } 1 .. 25;
my $foreign = recording(live_stream_id => $other->{id});
my $gone = recording(status => 'deleted');
my $now = recording(status => 'recording');

(undef, $list) = $t->api(GET => $base);
is(@{ $list->{recordings} }, 20, '20 are listed');
is($list->{recordings}[0]{id}, $now, 'the newest first');

my @paged = map {
    my (undef, $page) = $t->api(GET => "$base?limit=10&offset=$_");
    is($page->{offset}, $_, "offset $_");
    map { $_->{id} } @{ $page->{recordings} };
} 0, 10, 20, 30;

is_deeply(\@paged, [$now, reverse @all],
          'pages have each once, not the deleted, nor those of others');

(undef, $list) = $t->api(GET => "$base?status=deleted");
is_deeply([map { $_->{id} } @{ $list->{recordings} }], [$gone],
          'the deleted for who asks for them');
(undef, $list) = $t->api(GET => "$base?status=recording");
is_deeply([map { $_->{id} } @{ $list->{recordings} }], [$now], 'status');
(undef, $list) = $t->api(GET => "$base?status=failed");
is_deeply($list->{recordings}, [], 'a status that none has');

problem("?$_->[0]", 400, $_->[1], GET => "$base?$_->[0]")
    for ['limit=0', 'limit'], ['limit=101', 'limit'], ['offset=-1', 'offset'],
        ['status=live', 'status'], ['status=', 'status'],
        ['user_id=u-1', 'query'], ['page=2', 'query'];


# ---- get

my $id = recording(
    end_time => '2026-01-31T13:00:00.000Z', duration => 3600.123456,
    size => 4294967297, recording_url => 'file:/recordings/x/y',
    manifest_url => '/streams/x/recordings/y/master.m3u8',
    thumbnail_url => '/streams/x/recordings/y/poster.jpg',
    retention_until => '2027-01-31T13:00:00.000Z',
);
my $r = ($t->api(GET => "$base/$id"))[2];

is($r->{status}, 200, 'a recording');
like($r->{body}, qr/"$$_[0]":\Q$$_[1]\E(?:,|\})/, "$$_[0] is $$_[1]")
    for [id => qq("$id")], [live_stream_id => qq("$s->{id}")],
        [video_id => 'null'], [duration => '3600.123456'],
        [size => '4294967297'], [status => '"ready"'],
        [recording_url => '"file:/recordings/x/y"'],
        [retention_until => '"2027-01-31T13:00:00.000Z"'],
        [storyboard_url =>
            qq("/streams/$s->{id}/recordings/$id/storyboard.vtt")];

my $shown = get($id);
is_deeply([sort keys %$shown],
          [sort 'storyboard_url', keys %{ row('dvr_recordings', $id) }],
          'get shows every column, neither conversion nor storage');

is(get($now)->{$_}, $_ eq 'duration' || $_ eq 'size' ? 0 : undef,
   "$_ while it is being recorded")
    for qw(end_time duration size manifest_url thumbnail_url storyboard_url);

is(status_of(GET => "$base/" . uc $id), 200, 'an id in upper case');

problem($_->[0], 404, undef, GET => $_->[1])
    for ['a deleted one', "$base/$gone"],
        ['one of another stream', "$base/$foreign"],
        ['one that there is not', "$base/$s->{id}"],
        ['an id that is none', "$base/x"], ['no id', "$base/"],
        ['a path below', "$base/$id/x"],
        ['a stream\'s id that is none', "/livestreams/x/recordings/$id"];

for ([$base, 'GET, HEAD, OPTIONS'],
     ["$base/$id", 'GET, HEAD, PATCH, DELETE, OPTIONS'],
     ["$base/$id/convert", 'POST, OPTIONS']) {
    my ($status, undef, $r) = $t->api(OPTIONS => $_->[0]);
    is($r->{headers}{allow}, $_->[1], "Allow: $_->[1]");
}

insert('dvr_objects', name => "a$_", recording_id => $id, status => 'remote',
       due => '') for 1 .. 3;
is_deeply(get($id)->{storage}, { pending => 0, error => undef },
          'all is in storage');
insert('dvr_objects', name => "b$_", recording_id => $id, due => "2026-0$_-01",
       error => $_ < 3 ? "try $_" : undef) for 1 .. 3;
is_deeply(get($id)->{storage}, { pending => 3, error => 'try 2' },
          'some is not, for the last error');


# ---- how long it is kept

sub keep { $t->api(PATCH => "$base/$_[0]", { retention_until => $_[1] }) }

for (['2099-12-31T23:59:59Z', '2099-12-31T23:59:59.000Z'],
     ['2099-12-31T23:59:59.1239Z', '2099-12-31T23:59:59.123Z'],
     ['2099-12-31T23:30:00+01:00', '2099-12-31T22:30:00.000Z'],
     ['2099-12-31T23:30:00.5-05:30', '2100-01-01T05:00:00.500Z'],
     ['2096-02-29T00:00:00Z', '2096-02-29T00:00:00.000Z'],
     [undef, undef]) {
    my ($status, $kept) = keep($id, $_->[0]);

    is($status, 200, 'until ' . ($_->[0] // 'for ever'));
    is($kept->{retention_until}, $_->[1], 'as UTC');
    is(row('dvr_recordings', $id)->{retention_until}, $_->[1],
       'as the store has it');
}

($status, $r) = $t->api(PATCH => "$base/$id", {});
is($status, 200, 'an empty patch');
is($r->{retention_until}, undef, 'changes nothing');

problem("until $_", 400, 'retention_until', PATCH => "$base/$id",
        { retention_until => $_ })
    for '', 'tomorrow', '2099-12-31', '2099-12-31T23:59Z',
        '2099-12-31T23:59:59', '2099-12-31 23:59:59Z', '2099-02-29T00:00:00Z',
        '2099-13-01T00:00:00Z', '2099-01-32T00:00:00Z', '2099-00-01T00:00:00Z',
        '2099-01-01T24:00:00Z', '2099-01-01T00:60:00Z', '2099-01-01T00:00:61Z',
        '2099-01-01T00:00:00.Z', '2099-01-01T00:00:00+0100',
        '2099-01-01T00:00:00+24:00', '2099-01-01T00:00:00+01:60',
        '2099-01-01T00:00:00ZZ', '2099-01-01T00:00:00 01:00',
        '9999-12-31T23:59:59-01:00', '2o99-01-01T00:00:00Z', '+099-01-01',
        '2099-01-01T00:00:00.' . '0' x 4000 . 'Z', "2099-01-01T00:00:00\x{e9}";

problem('a field that is ' . JSON::PP->new->allow_nonref->encode($_), 400,
        'retention_until', PATCH => "$base/$id", { retention_until => $_ })
    for 1, 4102444800, JSON_TRUE, [], {};

problem('a time that has passed', 422, 'retention_until', PATCH =>
        "$base/$id", { retention_until => '2001-01-01T00:00:00Z' });
problem('one that is not finished', 409, undef, PATCH => "$base/$now",
        { retention_until => undef });
problem("$_ cannot be changed", 400, $_, PATCH => "$base/$id", { $_ => 'x' })
    for qw(id status video_id manifest_url colour);
problem('no body', 400, undef, PATCH => "$base/$id");
problem("keeping $_->[0]", 404, undef, PATCH => $_->[1],
        { retention_until => undef })
    for ['a deleted one', "$base/$gone"],
        ['one of another stream', "$base/$foreign"];


# ---- convert

for (['recording', qr/stop the stream/], ['processing', qr/wait/],
     ['failed', qr/failed/]) {
    my $id = recording(status => $_->[0]);
    my $p = problem("a recording that is $_->[0]", 409, undef, POST =>
                    "$base/$id/convert");

    like($p->{detail}, $_->[1], 'with what to wait for');
    is(row('dvr_conversions', $id), undef, 'and nothing is stored');
}

problem($_->[0], 404, undef, POST => "$_->[1]/convert", $_->[2])
    for ['a deleted one', "$base/$gone"],
        ['one of another stream', "$base/$foreign", {}],
        ['one that there is not', "$base/$s->{id}"];

problem("$_->[0]", 400, $_->[1], POST => "$base/$id/convert", $_->[2])
    for ['a member that there is not', 'colour', { colour => 'red' }],
        ['two that are wrong', 'x', '{"x":1,"resolution":7}'],
        ['resolution: number', 'resolution', { resolution => 720 }],
        ['resolution: null', 'resolution', { resolution => undef }],
        ['resolution: empty', 'resolution', { resolution => '' }],
        ['resolution: path', 'resolution', { resolution => '../x' }],
        ['resolution: upper case', 'resolution', { resolution => '720P' }],
        ['resolution: too long', 'resolution', { resolution => '1' x 16 }],
        ['title: number', 'title', { title => 1 }],
        ['title: two lines', 'title', { title => "a\nb" }],
        ['title: too long', 'title', { title => 'x' x 256 }],
        ['title: empty', 'title', { title => '' }],
        ['an array', undef, '[]'], ['no JSON', undef, '{'];

$r = $t->request(POST => "/api/v1$base/$id/convert", body => '{}',
                 headers => { 'Content-Type' => 'text/plain' });
is($r->{status}, 415, 'a body of another type');
is(videos(), 0, 'of all that no video was made');

my $c;
($status, $c, $r) = convert($id, { resolution => '720p', title => 'Mine' });
is($status, 202, 'convert');
is($r->{headers}{location}, "/api/v1$base/$id", 'Location');
is_deeply($c->{conversion}, get($id)->{conversion}, 'answers the recording');

my $video = delete $c->{conversion}{video_id};
is_deeply($c->{conversion}, { resolution => '720p', status => 'pending',
                              progress => 0, error => undef,
                              video_url => undef }, 'with its conversion');

my %is = %{ row('videos', $video) };
is_deeply([@is{qw(title user_id source_url duration size status)}],
          ['Mine', 'u-1', undef, 0, 0, 'processing'], 'there is a video');
like($is{created_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
     'with its time');
is(row('dvr_recordings', $id)->{video_id}, undef,
   'which is not yet that of the recording');

for (qw(pending running)) {
    $t->sql("UPDATE dvr_conversions SET status = '$_', progress = 0.25");
    problem("another one while it is $_", 409, undef, POST =>
            "$base/$id/convert");
    is(get($id)->{conversion}{progress}, 0.25, 'progress');
}

$t->sql("UPDATE dvr_conversions SET status = 'failed', error = 'no track'");
$t->sql("UPDATE videos SET status = 'failed'");
is(get($id)->{conversion}{error}, 'no track', 'a conversion that failed');

($status, $c) = convert($id);
is($status, 202, 'is tried again, without a body');
isnt($c->{conversion}{video_id}, $video, 'as another video');
is_deeply([@{ $c->{conversion} }{qw(resolution status error progress)}],
          [undef, 'pending', undef, 0], 'from the beginning');
is(row('videos', $c->{conversion}{video_id})->{title},
   "A concert, " . substr($shown->{start_time}, 0, 10) . ' '
   . substr($shown->{start_time}, 11, 5) . ' UTC',
   'title is that of the stream, and when it began');

$t->sql("UPDATE videos SET source_url = '/streams/x/videos/y.mp4',"
        . " status = 'ready' WHERE id = '$c->{conversion}{video_id}'");
$t->sql("UPDATE dvr_conversions SET status = 'ready', progress = 1");
is(get($id)->{conversion}{video_url}, '/streams/x/videos/y.mp4',
   'the MP4 of one that is ready');
is((convert($id, {}))[0], 202, 'and one more, with an empty object');

my $long = $t->create(title => "\x{1f3b8}" x 255, user_id => 'u');
my $of_long = recording(live_stream_id => $long->{id});
(undef, $c) = $t->api(POST => "/livestreams/$long->{id}/recordings/$of_long"
                              . '/convert');
is(length row('videos', $c->{conversion}{video_id})->{title}, 252,
   'a long title leaves room for when it began');


# ---- many at once

my $racing = recording();
my $before = videos();
my @clients = map { $t->client } 1 .. 24;
$_->send(POST => "/api/v1$base/$racing/convert",
         headers => { 'Content-Type' => 'application/json' },
         body => '{"resolution":"480p"}') for @clients;
my %got;
$got{ $_->recv->{status} }++ for @clients;
is_deeply(\%got, { 202 => 1, 409 => 23 },
          'of conversions at once one is begun, the others are conflicts');
is(videos(), $before + 1, 'and there is one more video');
ok(row('videos', get($racing)->{conversion}{video_id}), 'its own');

for (1 .. 20) {
    my $id = recording();
    my @c = map { $t->client } 1, 2;

    $c[0]->send(POST => "/api/v1$base/$id/convert");
    $c[1]->send(DELETE => "/api/v1$base/$id");
    my @status = map { $_->recv->{status} } @c;
    my $conversion = row('dvr_conversions', $id);
    my $video = $conversion && row('videos', $conversion->{video_id});

    is($status[1], 204, 'deleted while it is to be converted');
    ok($status[0] == 202 || $status[0] == 404, "which is $status[0]");
    ok(!$conversion || $conversion->{status} eq 'failed',
       'and leaves no conversion');
    ok(!$video || $video->{status} eq 'failed', 'and no video');
}

is_deeply([$t->sql("SELECT id FROM videos WHERE status = 'processing' AND id"
                   . ' NOT IN (SELECT video_id FROM dvr_conversions)')], [],
          'there is no video that nobody makes');


# ---- delete

problem('what is being recorded', 409, undef, DELETE => "$base/$now");
is(row('dvr_recordings', $now)->{status}, 'recording', 'goes on');

(undef, $c) = $t->api(GET => "$base/$racing");
($status, undef, $r) = $t->api(DELETE => "$base/$racing");
is($status, 204, 'delete');
is($r->{body}, '', 'answers nothing');
is(row('dvr_recordings', $racing)->{status}, 'deleted', 'its row stays');
problem('it is gone', 404, undef, GET => "$base/$racing");
problem('gone is gone', 404, undef, DELETE => "$base/$racing");
problem('and cannot be converted', 404, undef, POST =>
        "$base/$racing/convert");

my $conversion = row('dvr_conversions', $racing);
is_deeply([@$conversion{qw(status error)}],
          ['failed', 'the recording was deleted'],
          'its conversion is given up');
is(row('videos', $c->{conversion}{video_id})->{status}, 'failed',
   'and so is the video');

for my $from (qw(processing ready failed)) {
    my $id = recording(status => $from);
    is(status_of(DELETE => "$base/$id"), 204, "delete one that is $from");
}

problem('delete one of another stream', 404, undef, DELETE =>
        "$base/$foreign");
is(row('dvr_recordings', $foreign)->{status}, 'ready', 'leaves it alone');

my $done = recording();
insert('videos', id => 'made', title => 't', user_id => 'u',
       status => 'ready');
insert('dvr_conversions', recording_id => $done, live_stream_id => $s->{id},
       video_id => 'made', status => 'ready', created_at => '',
       updated_at => '');
is(status_of(DELETE => "$base/$done"), 204, 'delete one that was converted');
is(row('videos', 'made')->{status}, 'ready', 'its video stays');
is(row('dvr_conversions', $done)->{status}, 'ready', 'as it is');

my $last = recording();
(undef, $c) = convert($last);
is(status_of(DELETE => "/livestreams/$s->{id}"), 204, 'delete the stream');
is(row('dvr_recordings', $last), undef, 'its recordings go with it');
is(row('videos', $c->{conversion}{video_id})->{status}, 'failed',
   'what was being made of them is given up');
is(row('videos', 'made')->{status}, 'ready', 'what was made stays');
problem('and there is no list', 404, undef, GET => $base);


# ---- the store is away

my $db = "$t->{dir}/data/livestream.db";

$base = "/livestreams/$other->{id}/recordings";

# Holds the store's lock until what it returns is called.
sub lock_store {
    my $pid = open2(my $out, my $in, 'sqlite3', $db);

    print $in ".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n";
    $in->flush;
    die "no lock\n" unless <$out> =~ /locked/;

    return sub { print $in "ROLLBACK;\n"; close $in; waitpid $pid, 0 };
}

my $unlock = lock_store();

is(status_of(GET => "$base/$foreign"), 200,
   'reading goes on while another process writes');

my $p = problem('a store that is locked for too long', 503, undef, POST =>
                "$base/$foreign/convert");
like($p->{detail}, qr/try again/, 'in words');

my $client = $t->client;
$client->send(POST => "/api/v1$base/$foreign/convert");
ok(!$client->readable(0.3), 'a conversion waits for the store');
$client->close;
$unlock->();

ok((wait_for { my $c = row('dvr_conversions', $foreign);
               $c && row('videos', $c->{video_id}) }),
   'and is begun, though its client has gone');

rename $db, "$db.away" or die;
problem($_->[0] . ' without a store', 503, undef, @$_)
    for [GET => $base], [GET => "$base/$foreign"],
        [DELETE => "$base/$foreign"], [POST => "$base/$foreign/convert"],
        [PATCH => "$base/$foreign", { retention_until => undef }];
rename "$db.away", $db or die;

is(status_of(DELETE => "$base/$foreign"), 204, 'and back again');

$t->stop;


# ---- the directive

for ('0s', '8d', '-1', 'x') {
    my $t = Livestream::Test->new(livestream => "default_dvr_window $_;");
    my ($status, $said) = $t->test_conf;

    isnt($status, 0, "default_dvr_window $_ is refused");
    like($said, qr/default_dvr_window|invalid value/, 'and named');
}

done_testing();
