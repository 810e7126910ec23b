# An MP4 of a recording: whole, as long as what was recorded, in sync, its
# index first, and one at a time.  What one MP4 cannot hold is refused with a
# reason.

use Livestream::Test;
use Livestream::Test::Conformance;
use Livestream::Test::Served;

use JSON::PP;
use List::Util qw(sum0);

my $t = Livestream::Test->new(livestream => '
    part_duration     250ms;
    segment_duration  1s;
    reconnect_window  4s;
    dvr               on;
    rung              180p 320x180 300k;
    rung              90p  160x90  100k;
');
$t->start;


# ---- four broadcasts at once

my %s = (
    plain   => $t->create(title => 'Plain'),
    ladder  => $t->create(title => 'Ladder',
                          settings => { enable_transcoding => JSON_TRUE }),
    back    => $t->create(title => 'Comes back'),
    changed => $t->create(title => 'Comes back as another'),
);

my %o = (
    plain  => { bframes => 2, fps => '30000/1001' },
    ladder => { fps => 15 },
    map { $_ => { size => '160x90', fps => 24 } } qw(back changed),
);

my %p = map { $_ => $t->publish($s{$_}, %{ $o{$_} }) } keys %s;
my %v = map {
    $_ => Livestream::Test::Served->new($t, $s{$_}, 'audio',
                                        $_ eq 'ladder' ? '180p' : 'source');
} keys %s;

ok($v{$_}->wait_segments(3), "$_: a broadcast") or diag(notices($t))
    for sort keys %s;

for my $name (qw(back changed)) {
    my $seen = $v{$name}->segments('source');

    $p{$name}->stop;
    ok((wait_for { status($s{$name}) eq 'interrupted' }),
       "$name: its publisher goes");

    $p{$name} = $t->publish($s{$name}, %{ $o{$name} },
                            $name eq 'changed' ? (size => '320x180') : ());
    ok($v{$name}->wait_segments($seen + 4), "$name: and comes back")
        or diag($p{$name}->output);
}

CORE::kill(INT => $_->pid) for values %p;
$_->stop for values %p;

my (%row, %r);

for my $name (sort keys %s) {
    ($row{$name}) = wait_recordings($t, $s{$name},
                                                              'ready');
    ok($row{$name}, "$name: is recorded") or BAIL_OUT(notices($t));

    $r{$name} = $v{$name}->recording($row{$name}{id});
    is_deeply([$r{$name}->faults], [], "$name: whole");
}


# ---- the plain one

my ($status, $begun) = convert('plain', {});
is($status, 202, 'it is to be converted');
like($begun->{conversion}{status}, qr/^(?:pending|running|ready)$/,
     'which is told');

($status, my $problem) = convert('plain', {});
is($status, 409, 'a second time while it is') if $status != 202;
like($problem->{detail}, qr/being converted already/, 'says why')
    if $status == 409;

my $done = converted('plain');
is($done->{status}, 'ready', 'it is done') or diag(notices($t));
is($done->{progress} + 0, 1, 'all of it');

my $mp4 = mp4('plain', $done, 'source');
is_deeply($mp4->{boxes}, [qw(ftyp moov mdat)], 'its index comes first');

my $path = $done->{video_url};
my $part = $t->get($path, headers => { Range => 'bytes=4-7' });
is_deeply([$part->{status}, $part->{body}], [206, 'ftyp'],
          'a player may seek in it');
is($part->{headers}{'content-type'}, 'video/mp4', 'and is told what it is');

my ($video) = $t->sql("SELECT * FROM videos WHERE id = '$done->{video_id}'");
is($video->{status}, 'ready', 'it is a video of the platform');
is($video->{source_url}, $path, 'that is there');
is($video->{size}, $mp4->{size}, 'so large');
is($video->{user_id}, 'tester', 'of who has the stream');
cmp_ok(abs($video->{duration} - $mp4->{duration}), '<', 0.05, 'and so long');

is(($t->api(GET => call('plain')))[1]{video_id}, $done->{video_id},
   'the recording knows it');


# ---- rungs

convert('ladder', { resolution => '90p', title => 'Small' });
$done = converted('ladder');
is($done->{status}, 'ready', 'a rung') or diag(notices($t));
$mp4 = mp4('ladder', $done, '90p');
is_deeply([@{ $mp4->{video} }{qw(width height)}], [160, 90], 'as asked for');
is(($t->sql("SELECT title FROM videos WHERE id = '$done->{video_id}'"))
   [0]{title}, 'Small', 'its title, too');

convert('ladder', {});
my $best = converted('ladder');
$mp4 = mp4('ladder', $best, '180p');
is_deeply([@{ $mp4->{video} }{qw(width height)}], [320, 180],
          'else it is the best');
is($t->get($done->{video_url})->{status}, 200, 'the one before is kept');

convert('ladder', { resolution => '1080p' });
$done = converted('ladder');
is($done->{status}, 'failed', 'a rung that there is not');
ok(length $done->{error}, 'is told of') and note($done->{error});


# ---- reconnects

convert('back', {});
$done = converted('back');
is($done->{status}, 'ready', 'a reconnect is no obstacle')
    or diag(notices($t));
mp4('back', $done, 'source');

convert('changed', {});
$done = converted('changed');
is($done->{status}, 'failed', 'one with other parameters is');
ok(length $done->{error}, 'and told of') and note($done->{error});

is((grep { $_->{status} eq 'failed' } $t->sql('SELECT status FROM videos'))
   + 0, 2, 'what failed has failed as videos');

my @files = map { glob "$t->{dir}/data/media/recordings/$s{$_}{id}/videos/*" }
            keys %s;
is(scalar @files, 4, 'there are as many files as videos that are ready')
    or diag("@files");

$t->stop;
done_testing();


sub call { "/livestreams/$s{$_[0]}{id}/recordings/$row{$_[0]}{id}" }


sub convert {
    my ($name, $body) = @_;

    return $t->api(POST => call($name) . '/convert', $body);
}


# The conversion, once it is over.
sub converted {
    my ($name) = @_;

    my $c;

    wait_for {
        $c = ($t->api(GET => call($name)))[1]{conversion} // {};
        ($c->{status} // '') =~ /^(?:ready|failed)$/;
    } 30;

    return $c;
}


# The file, held against a track of the recording and its audio.
sub mp4 {
    my ($name, $c, $track) = @_;

    my $file = "$t->{dir}/$name.mp4";
    my $r = $t->get($c->{video_url} // '/none');

    is($r->{status}, 200, "$name: the MP4 is served");
    Livestream::Test::write_file($file, $r->{body});

    my $is = decode_json(`ffprobe -v error -count_packets -show_streams \\
                          -show_format -of json $file` || '{}');
    my %mp4 = (size => length $r->{body}, duration => $is->{format}{duration},
               map { $_->{codec_type} => $_ } @{ $is->{streams} });

    is(`ffprobe -v error -count_frames -show_streams $file 2>&1 >/dev/null`,
       '', "$name: ffmpeg decodes it");

    my ($num, $den) = split m{/}, $mp4{video}{avg_frame_rate} // '25/1';
    my $seconds = sum0(map { $_->{duration} }
                       @{ $r{$name}{tracks}{$track}{segments} });

    cmp_ok(abs($mp4{video}{duration} - $seconds), '<=', $den / $num + 0.001,
           "$name: it is as long as its pictures")
        or diag("$mp4{video}{duration}: $seconds");

    my $late = shown($r{$name}{tracks}{$track})
               - shown($r{$name}{tracks}{audio});

    cmp_ok(abs($mp4{video}{start_time} - $mp4{audio}{start_time} - $late),
           '<', 0.002, "$name: picture and sound are in sync")
        or diag("$mp4{video}{start_time} $mp4{audio}{start_time} $late");

    $mp4{boxes} = [];

    for (my $p = 0; $p + 8 <= length $r->{body}; ) {
        my ($size, $type) = unpack 'N a4', substr $r->{body}, $p, 8;

        push @{ $mp4{boxes} }, $type if $type =~ /^(?:ftyp|moov|mdat)$/;
        last if $size < 8;
        $p += $size;
    }

    return \%mp4;
}


# When a viewer sees or hears the first of a track.
sub shown {
    my ($m) = @_;

    my $first = $m->{segments}[0];
    my ($f) = Livestream::Test::Conformance::fragments($first->{bytes});

    return ($f->{dts} + $f->{samples}[0]{cts})
           / Livestream::Test::Conformance::timescale($first->{init});
}


sub status {
    my ($s) = @_;

    my ($row) = $t->sql("SELECT status FROM live_streams"
                        . " WHERE id = '$s->{id}'");
    return $row->{status};
}
