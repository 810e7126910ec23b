# An S3 server that is away, slow or does not want us, and nginx killed in the
# middle of an upload: live goes on, nothing leaves the disk before it is
# there, and in the end everything is, byte for byte.

use Livestream::Test;
use Livestream::Test::Follow;
use Livestream::Test::S3;
use Livestream::Test::Served;

use Digest::MD5 qw(md5_hex);

my $s3 = Livestream::Test::S3->new(
    File::Temp::tempdir('livestream-s3-XXXXXXXX', TMPDIR => 1, CLEANUP => 1));
my $t = Livestream::Test->new(livestream => '
    part_duration      500ms;
    segment_duration   1s;
    reconnect_window   3s;
    dvr                on;
    recording_storage  ' . $s3->uri . ";\n" . $s3->directives);
my $root = "$t->{dir}/data/media/recordings";

$t->start;

my (%s, %p, %v, %row);


# ---- away in mid-stream, for a while

live('away');
ok((wait_for { objects('away') > 4 } 20), 'segments are uploaded')
    or diag(notices($t));

$s3->stop;
overdue();

my $seen = $v{away}->segments('source');
my $left = objects('away');

my $f = Livestream::Test::Follow->new($t, $s{away});
$f->run(20);
is_deeply($f->problems, [], 'the server is away: live goes on');
cmp_ok($f->{slowest}, '<', 2, 'in time');
ok($t->log_like(qr/could not be stored: .*it will be tried again/),
   'the log tells');
cmp_ok(scalar(grep { /could not be stored/ } split /^/, $t->log), '<', 4,
       'now and then, not of each file');
like(($t->api(GET => call('away')))[1]{storage}{error} // '', qr/\S/,
     'so does the API') if row('away');

$s3->start;
ok((wait_for { objects('away') > $left } 70),
   'it comes back, and uploads go on');
ok($t->log_like(qr/recordings can be stored again/, 20), 'which is told');
over('away');


# ---- slow, and nginx killed in the middle of it

live('killed', size => '640x360');
$s3->slow(30_000);
ok($v{killed}->wait_segments(4), 'the server is slow, live goes on');
ok((wait_for { grep { $_->{method} eq 'PUT' } @{ $s3->requests } } 20),
   'something is being uploaded');

$t->remember;
kill KILL => $t->master, $t->workers('all');
ok($t->ended, 'nginx is killed in the middle of it');
$_->stop for $v{killed}, $p{killed};

$s3->normal;
$t->start;
over('killed');
is($s3->unfinished, 0, 'no half of an upload stays in the bucket');


# ---- a key that was changed

my $right = $t->{arg}{livestream};

$t->{arg}{livestream} =~ s/s3_secret_key\s+[^;]+;/s3_secret_key "wrong";/;
configure();
live('refused');
ok($v{refused}->wait_segments(4), 'wrong credentials: live goes on');
ok($t->log_like(qr/could not be stored: .*(?:403|Signature)/, 20),
   'the log says what is wrong') or diag(notices($t));
CORE::kill(INT => $p{refused}->pid);

my ($row) = wait_recordings($t, $s{refused},
                                                      'ready');
ok($row, 'the recording is ready');
overdue();
is_deeply([$v{refused}->recording($row->{id})->faults], [],
          'and played from the disk');
is(objects('refused'), 0, 'the bucket has nothing of it');

$t->{arg}{livestream} = $right;
configure();
over('refused');

unlike($t->log, qr/\Q$s3->{secret}/, 'the log keeps the secret');

$t->stop;
done_testing();


sub live {
    my ($name, %o) = @_;

    $s{$name} = $t->create(title => $name);
    $p{$name} = $t->publish($s{$name}, size => '160x90', fps => 24, %o);
    $v{$name} = Livestream::Test::Served->new($t, $s{$name}, 'source',
                                              'audio');
    ok($v{$name}->wait_segments(2), "$name: a broadcast")
        or BAIL_OUT(notices($t));
}


# It ends, and all of it is in the bucket and leaves the disk.
sub over {
    my ($name) = @_;

    $p{$name}->stop;

    ($row{$name}) = wait_recordings($t, $s{$name},
                                                              'ready');
    ok($row{$name}, "$name: recorded") or return diag(notices($t));

    my $files = local_files($name);

    ok((wait_for { !pending() } 70), "$name: all is uploaded")
        or diag(notices($t));
    is_deeply(bucket($name), $files, "$name: byte for byte");

    overdue();
    ok((wait_for { !segments($name) } 30), "$name: and leaves the disk");

    my $r = $v{$name}->recording($row{$name}{id});

    is_deeply([$r->faults], [], "$name: it is what viewers were served");
    cmp_ok($r->{redirects}, '>', 3, "$name: played from the bucket");
    is($r->complaints, '', "$name: ffmpeg decodes it");
}


sub configure {
    Livestream::Test::write_file("$t->{dir}/nginx.conf", $t->conf);
    ok($t->reload, 'nginx is reloaded');
}


sub row { (recordings($t, $s{$_[0]}))[0] }

sub call { "/livestreams/$s{$_[0]}{id}/recordings/" . row($_[0])->{id} }


sub pending {
    return ($t->sql("SELECT count(*) AS n FROM dvr_objects"
                    . " WHERE status = 'pending'"))[0]{n};
}


# as if the live window had passed
sub overdue {
    $t->sql("UPDATE dvr_objects SET due = '2001-01-01T00:00:00.000Z'"
            . " WHERE status = 'stored' AND due < '9999'");
}


sub bucket {
    my ($name) = @_;

    my $objects = $s3->objects;
    my $prefix = "$s3->{prefix}/$s{$name}{id}/";

    return { map { m{^\Q$prefix\E[^/]+/(.*)} ? ($1 => $objects->{$_}{md5})
                                            : () }
             keys %$objects };
}


sub objects { scalar keys %{ bucket($_[0]) } }


# some may have gone already
sub local_files {
    my ($name) = @_;

    my $dir = "$root/$s{$name}{id}/$row{$name}{id}";
    my %is = map { $_ => 1 } grep { -f && /\.(?:m4s|mp4|m3u8|jpg|vtt)$/
                                    && !/thumbnail/ }
             glob("$dir/*"), glob("$dir/*/*");

    my %files = map { substr($_, 1 + length $dir)
                      => md5_hex(Livestream::Test::read_file($_)) } keys %is;

    return { %{ bucket($name) }, %files };
}


sub segments {
    my ($name) = @_;

    my @files = glob "$root/$s{$name}{id}/$row{$name}{id}/*/segment-*";

    return scalar @files;
}
