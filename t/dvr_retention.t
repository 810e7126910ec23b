# What has expired goes, and nothing else: a recording that is to be kept, an
# MP4 that was made of one, and folders that are older than the store stay.  A
# removal that a crash has cut short is finished, whoever is the keeper then.

use Livestream::Test;
use Livestream::Test::Recording;
use Livestream::Test::Served;

use File::Path qw(make_path);

my $t = Livestream::Test->new(livestream => '
    part_duration     500ms;
    segment_duration  1s;
    reconnect_window  1s;
    dvr               on;
    dvr_retention     8s;
    cleanup_interval  1s;
');
my $root = "$t->{dir}/data/media/recordings";

# what is older than the store is somebody else's

my ($old, $folder) = map { Livestream::Test::Recording::uuid() } 1, 2;
orphan("$old/$folder/source/segment-0.m4s", 1e9);
utime 1e9, 1e9, "$root/$old/$folder";

$t->start;

my %s = map { $_ => $t->create(title => $_) }
        qw(expires converted kept deleted halfway gone);
my %p = map { $_ => $t->publish($s{$_}, size => '160x90', fps => 12) }
        keys %s;
my %v = map {
    $_ => Livestream::Test::Served->new($t, $s{$_}, 'source', 'audio');
} keys %s;

ok($v{$_}->wait_segments(2), "$_: a broadcast") for sort keys %s;
ok($t->reload, 'nginx is reloaded');

CORE::kill(INT => $_->pid) for values %p;
$_->stop for values %p;

my (%row, %dir);

for my $name (sort keys %s) {
    ($row{$name}) = wait_recordings($t, $s{$name},
                                                              'ready');
    ok($row{$name}, "$name: recorded") or BAIL_OUT(notices($t));
    $dir{$name} = "$root/$s{$name}{id}/$row{$name}{id}";

    is(($t->api(PATCH => call($name), { retention_until => undef }))[0], 200,
       "$name: is to be kept for ever") unless $name =~ /expires|converted/;
}

is(($t->api(POST => call('converted') . '/convert', {}))[0], 202,
   'an MP4 is made of one');

# rubbish of our own time

my @go = map { Livestream::Test::Recording::uuid() } 1 .. 5;
orphan("$go[0]/$go[1]/source/segment-0.m4s");
orphan("$s{kept}{id}/$go[4]/source/segment-0.m4s");
orphan("$s{kept}{id}/videos/$go[2].mp4");
orphan("$s{kept}{id}/videos/$go[3].mp4.tmp");
orphan("lost+found/README");

# one that is deleted, one whose removal was cut short, one with its stream

is(($t->api(DELETE => call('deleted')))[0], 204, 'one is deleted');
is(($t->api(GET => call('deleted')))[0], 404, 'and is not there any more');
is($t->get($row{deleted}{manifest_url})->{status}, 404, 'nor played',)
    if wait_for { !-e "$dir{deleted}/master.m3u8" };

unlink "$dir{halfway}/master.m3u8", glob "$dir{halfway}/source/*[02468].m4s";
$t->sql("UPDATE dvr_recordings SET status = 'deleted'"
        . " WHERE id = '$row{halfway}{id}'");

is(($t->api(DELETE => "/livestreams/$s{gone}{id}"))[0], 204,
   'a stream is deleted');

gone($_) for qw(deleted halfway gone);

my ($tombstone) = $t->sql('SELECT status, recording_url FROM dvr_recordings'
                          . " WHERE id = '$row{deleted}{id}'");
is_deeply($tombstone, { status => 'deleted', recording_url => undef },
          'the row of one that was deleted stays for a while');

ok($t->reload, 'nginx is reloaded');

my $video = wait_for {
    my $c = ($t->api(GET => call('converted')))[1]{conversion} // {};
    $c->{status} eq 'ready' && $c;
};
ok($video, 'the MP4 is ready');


# ---- time goes by

gone($_) for qw(expires converted);
is(($t->api(GET => call('expires')))[0], 404, 'one that has expired is gone');
is($t->get($row{expires}{manifest_url})->{status}, 404, 'for players, too');

(undef, my $list) = $t->api(GET =>
    "/livestreams/$s{expires}{id}/recordings?status=deleted");
is_deeply([map { $_->{id} } @{ $list->{recordings} }], [$row{expires}{id}],
          'who asks for deleted ones is told of it');

is($t->get($video->{video_url})->{status}, 200, 'the MP4 stays');

ok((wait_for { !-e "$root/$_" } 15), "$_: nobody knows it, it goes")
    for "$go[0]/$go[1]", "$s{kept}{id}/$go[4]",
        "$s{kept}{id}/videos/$go[2].mp4", "$s{kept}{id}/videos/$go[3].mp4.tmp";

ok(-e "$root/$old/$folder/source/segment-0.m4s",
   'what is older than the store stays');
ok($t->log_like(qr/recording $folder is older than the store/),
   'and the log tells of it');
ok(-e "$root/lost+found/README", 'as does what is no recording');

my $r = $v{kept}->recording($row{kept}{id});
is_deeply([$r->faults], [], 'and what is to be kept, whole');

ok((wait_for {
    !$t->sql("SELECT 1 FROM dvr_recordings WHERE id = '$row{deleted}{id}'");
} 20), 'in the end the row of a deleted one goes, too');

# ---- a stream that is deleted while it is on air

$s{live} = $t->create(title => 'live');
my $p = $t->publish($s{live}, size => '160x90', fps => 12);

ok((wait_recordings($t, $s{live}, 'recording'))[0], 'one is on air')
    or diag($p->output);
is(($t->api(DELETE => "/livestreams/$s{live}{id}"))[0], 204,
   'and deleted with its stream');
ok(defined $p->wait(20), 'its publisher is disconnected');
ok((wait_for { !-e "$root/$s{live}{id}" } 30), 'its files go')
    or diag(notices($t));

for my $what ('is ready', 'has expired', 'was removed', 'was converted') {
    my %times;
    $times{$_}++ for $t->log =~ /recording (\S+) $what/g;
    is_deeply([grep { $times{$_} > 1 } keys %times], [],
              "one keeper at a time: nothing $what twice")
        or diag(notices($t));
}

$t->stop;
done_testing();


sub call { "/livestreams/$s{$_[0]}{id}/recordings/$row{$_[0]}{id}" }


sub gone {
    my ($name) = @_;

    ok((wait_for { !-e $dir{$name} } 30), "$name: its files go")
        or diag(notices($t));
}


sub orphan {
    my ($path, $time) = @_;

    $path = "$root/$path";

    make_path($path =~ s{/[^/]+$}{}r);
    Livestream::Test::write_file($path, 'x' x 1000);
    utime $time, $time, $path if $time;

    system('chown', '-R', 'nobody', $root) if $> == 0;
}
