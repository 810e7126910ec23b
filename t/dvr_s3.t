# Recordings in S3: everything ends up in the bucket, byte for byte; a local
# file goes only when it is confirmed there and out of the live window; from
# then on players are sent to the bucket.  What is deleted is deleted there.

use Livestream::Test;
use Livestream::Test::S3;
use Livestream::Test::Served;

use Digest::MD5 qw(md5_hex);

my $s3 = Livestream::Test::S3->new(
    File::Temp::tempdir('livestream-s3-XXXXXXXX', TMPDIR => 1, CLEANUP => 1));
my $t = Livestream::Test->new(livestream => '
    part_duration      500ms;
    segment_duration   1s;
    reconnect_window   1s;
    dvr                on;
    cleanup_interval   1s;
    recording_storage  ' . $s3->uri . ";\n" . $s3->directives);
my $root = "$t->{dir}/data/media/recordings";

$t->start;

my %s = map { $_ => $t->create(title => $_) } qw(played deleted gone);
my %p = map { $_ => $t->publish($s{$_}, size => '160x90', fps => 24) }
        keys %s;
my %v = map {
    $_ => Livestream::Test::Served->new($t, $s{$_}, 'source', 'audio');
} keys %s;
my (%row, %r);

ok($v{played}->wait_segments(2), 'a broadcast') or diag($p{played}->output);

ok((wait_for { grep { m{/source/segment-} } keys %{ $s3->objects } } 20),
   'segments are uploaded while it is live') or diag(notices($t));

my ($now) = recordings($t, $s{played});
is($now->{recording_url}, $s3->uri . "/$s{played}{id}/$now->{id}/",
   'its recording is in the bucket');

$v{played}->wait_segments(5);
CORE::kill(INT => $_->pid) for values %p;
$_->stop for values %p;

for my $name (sort keys %s) {
    ($row{$name}) = wait_recordings($t, $s{$name},
                                                              'ready');
    ok($row{$name}, "$name: recorded") or BAIL_OUT(notices($t));
}

ok((wait_for { !pending() } 30), 'all is uploaded') or diag(notices($t));

for my $name (sort keys %s) {
    is_deeply(bucket($name), local_files($name),
              "$name: the bucket has every file, byte for byte");
}

like(($t->api(GET => call('played')))[1]{storage}{pending}, qr/^0$/,
     'the API says so');

my $r = $v{played}->recording($row{played}{id});
is_deeply([$r->faults], [], 'it is played');
is($r->{redirects}, 0, 'from the disk, as long as it is there');


# ---- the window is over

my $whole = bucket('played');

overdue();
ok((wait_for { !segments('played') } 30), 'the segments leave the disk')
    or diag(notices($t));
is_deeply(bucket('played'), $whole, 'not the bucket');
ok(-e "$root/$s{played}{id}/$row{played}{id}/$_", "$_ stays here, too")
    for qw(master.m3u8 source/playlist.m3u8 poster.jpg storyboard.vtt);

$r = $v{played}->recording($row{played}{id});
is_deeply([$r->faults], [], 'it is played');
cmp_ok($r->{redirects}, '>', 4, 'from the bucket');
is($r->complaints, '', 'ffmpeg decodes it');


# ---- an MP4 is made of what is only there, and goes there

is(($t->api(POST => call('played') . '/convert', {}))[0], 202,
   'it is converted');

my $done = wait_for {
    my $c = ($t->api(GET => call('played')))[1]{conversion} // {};
    ($c->{status} // '') =~ /^(?:ready|failed)$/ && $c;
} 30;
is($done->{status}, 'ready', 'from the bucket') or diag(notices($t));

my $key = "$s{played}{id}/videos/$done->{video_id}.mp4";
my $object = "$s3->{prefix}/$key";
ok((wait_for { $s3->objects->{$object} } 20), 'the MP4 goes there');
ok((wait_for { !pending() } 20), 'which is confirmed');
is($s3->objects->{$object}{md5}, md5_hex(Livestream::Test::read_file(
       "$root/$key")), 'byte for byte');

overdue();
ok((wait_for { !-e "$root/$key" } 30), 'then it leaves the disk');
like($t->get($done->{video_url})->{headers}{location} // '',
     qr{^http://127\.0\.0\.1:$s3->{port}/}, 'and players are sent there');


# ---- deleted

is(($t->api(DELETE => call('deleted')))[0], 204, 'one is deleted');
ok((wait_for { !%{ bucket('deleted') } } 30), 'its objects go')
    or diag(sort keys %{ bucket('deleted') });
ok(!-e "$root/$s{deleted}{id}/$row{deleted}{id}", 'its files have gone');

is(($t->api(DELETE => "/livestreams/$s{gone}{id}"))[0], 204,
   'a stream is deleted');
ok((wait_for { !%{ bucket('gone') } } 30), 'the objects of its recording go')
    or diag(join ' ', sort keys %{ bucket('gone') });
ok((wait_for { !-e "$root/$s{gone}{id}" } 20), 'and its files');

$t->sql("UPDATE dvr_recordings SET retention_until"
        . " = '2001-01-01T00:00:00.000Z' WHERE id = '$row{played}{id}'");
ok((wait_for { !%{ bucket('played') } } 30), 'one that has expired goes')
    or diag(join ' ', sort keys %{ bucket('played') });
ok($s3->objects->{$object}, 'the MP4 stays');
ok((wait_for {
    !$t->sql("SELECT 1 FROM dvr_objects WHERE name <> '$key'");
} 20), 'the journal forgets what has gone');

unlike($t->log, qr/\Q$s3->{secret}/, 'the log keeps the secret');

$t->stop;
done_testing();


sub call { "/livestreams/$s{$_[0]}{id}/recordings/$row{$_[0]}{id}" }


sub pending {
    return ($t->sql("SELECT count(*) AS n FROM dvr_objects"
                    . " WHERE status = 'pending'"))[0]{n};
}


# as if the live window had passed
sub overdue {
    $t->sql("UPDATE dvr_objects SET due = '2001-01-01T00:00:00.000Z'"
            . " WHERE status = 'stored' AND due < '9999'");
}


# What the bucket has of a recording: { 'source/segment-0.m4s' => MD5 }.
sub bucket {
    my ($name) = @_;

    my $objects = $s3->objects;
    my $prefix = "$s3->{prefix}/$s{$name}{id}/$row{$name}{id}/";

    return { map { /^\Q$prefix\E(.*)/ ? ($1 => $objects->{$_}{md5}) : () }
             keys %$objects };
}


sub local_files {
    my ($name) = @_;

    my $dir = "$root/$s{$name}{id}/$row{$name}{id}";

    return { map { substr($_, 1 + length $dir)
                   => md5_hex(Livestream::Test::read_file($_)) }
             grep { -f && /\.(?:m4s|mp4|m3u8|jpg|vtt)$/ && !/thumbnail/ }
             glob("$dir/*"), glob("$dir/*/*") };
}


sub segments {
    my ($name) = @_;

    my @files = glob "$root/$s{$name}{id}/$row{$name}{id}/*/segment-*";

    return scalar @files;
}
