#!/usr/bin/perl

# Copyright (C) nginx-livestream contributors
#
# Files to a real S3 server and back, by the engine without nginx around it;
# and nginx's words for what is wrong in its configuration.

use v5.28;
use warnings;

use Digest::MD5 qw(md5_hex);
use File::Temp qw(tempdir);
use Time::HiRes qw(time);

use Livestream::Test;
use Livestream::Test::S3;
use Livestream::Test::S3::Client;

use constant MIB => 1024 * 1024;

my $dir = tempdir('livestream-s3-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $s3 = Livestream::Test::S3->new("$dir/s3");
my $c = Livestream::Test::S3::Client->new($s3);


# of bytes that do not repeat soon
sub make_file {
    my ($name, $size) = @_;

    my $state = unpack 'N', pack 'H8', md5_hex($name);

    open my $fh, '>:raw', "$dir/$name" or die "$name: $!\n";
    while ($size > 0) {
        my $block = join '', map { pack 'N', $state = ($state * 1103515245
                    + 12345) & 0xffffffff } 1 .. 1024;
        $block x= 16;
        substr($block, 0, 4) = pack 'N', $size;
        print $fh substr $block, 0, $size;
        $size -= length $block;
    }
    close $fh or die "$name: $!\n";

    return "$dir/$name";
}


sub sum { md5_hex(Livestream::Test::read_file($_[0])) }


sub object { $s3->objects->{"recordings/$_[0]"} }


my $small = make_file('segment-1.m4s', 3_750_000);


subtest 'a segment is stored and confirmed' => sub {
    $s3->requests;

    my $r = $c->put('id/rid/source/segment-1.m4s', $small);

    is($r->{rc}, 'ok', 'stored') or diag $r->{text};
    is($r->{text}, '3750000 ' . sum($small), 'size and ETag');

    my $o = object('id/rid/source/segment-1.m4s');
    is($o->{size}, 3_750_000, 'so many bytes are there');
    is($o->{md5}, sum($small), 'the same ones');

    is_deeply([map { "$_->{method} $_->{status}" } @{ $s3->requests }],
              ['PUT 200', 'HEAD 200'], 'one PUT, one HEAD');
};


subtest 'an empty file and one with a difficult name' => sub {
    for (['empty.m4s', 0], ["o'dd (1)+\$&=@;,!*~.m4s" =~ tr/ /_/r, 1000]) {
        my ($name, $size) = @$_;
        my $file = make_file('x.m4s', $size);
        my $r = $c->put("id/$name", $file);

        is($r->{rc}, 'ok', "stored: $name") or diag $r->{text};
        is(object("id/$name")->{md5}, sum($file), 'as it was');
    }
};


subtest 'ranges are fetched, and what is beyond the end is nothing' => sub {
    my $whole = Livestream::Test::read_file($small);

    for ([0, 1000], [1000, 100_000], [3_749_990, 10], [3_749_990, 1000],
         [3_750_000, 10], [9_999_999, 10])
    {
        my ($from, $size) = @$_;
        my $want = $from < length $whole ? substr($whole, $from, $size) : '';
        my $r = $c->fetch('id/rid/source/segment-1.m4s', $from, $size,
                          "$dir/fetched");

        is($r->{rc}, 'ok', "$size bytes from $from") or diag $r->{text};
        is($r->{text}, length $want, 'as many as there are');
        ok(Livestream::Test::read_file("$dir/fetched") eq $want, 'the same');
    }

    is($c->fetch('id/none', 0, 10, "$dir/fetched")->{rc}, 'absent',
       'of what is not there');
};


subtest 'anybody may fetch by a presigned URL, until it has expired' => sub {
    my $get = sub {
        my ($url) = @_;
        open my $fh, '-|', 'curl', '-s', '-o', "$dir/got", '-w',
            '%{http_code} %{content_type}', $url or die "curl: $!\n";
        return scalar <$fh>;
    };

    my $url = $c->url('id/rid/source/segment-1.m4s', 60);
    is($get->($url), '200 video/iso.segment', 'fetched, with its type');
    is(sum("$dir/got"), sum($small), 'as it was stored');

    is($get->($url =~ s/segment-1/segment-2/r), '403 application/xml',
       'not another one by the same signature');
    is($get->($url =~ s/Expires=60/Expires=61/r), '403 application/xml',
       'nor for longer');

    my $odd = $c->url("id/o'dd_(1)+\$&=@;,!*~.m4s", 60);
    like($get->($odd), qr/^200 /, 'of a difficult name');

    my $short = $c->url('id/rid/source/segment-1.m4s', 1);
    ok((wait_for { $get->($short) =~ /^403/ } 5), 'it expires');
};


subtest 'what is removed is gone, and may be gone already' => sub {
    is($c->remove('id/empty.m4s')->{rc}, 'ok', 'removed');
    ok(!object('id/empty.m4s'), 'it is gone');
    is($c->remove('id/empty.m4s')->{rc}, 'ok', 'removed again');
};


my $large = make_file('large.mp4', 70 * MIB + 12345);


subtest 'a large file is stored in parts' => sub {
    $s3->requests;

    my $r = $c->put('id/videos/large.mp4', $large);

    is($r->{rc}, 'ok', 'stored') or diag $r->{text};
    like($r->{text}, qr/^73412665 [0-9a-f]{32}-5$/,
         'size and ETag of 5 parts');
    is(object('id/videos/large.mp4')->{md5}, sum($large), 'as it was');
    is($s3->unfinished, 0, 'the upload is over');

    my %n;
    $n{"$_->{method} $_->{status}"}++ for @{ $s3->requests };
    is_deeply(\%n, { 'POST 200' => 2, 'PUT 200' => 5, 'HEAD 200' => 1 },
              'no more requests than that takes');
};


subtest 'an upload in parts that fails leaves nothing behind' => sub {
    $s3->answer(500, 'InternalError', method => 'PUT',
                match => 'partNumber=3');
    my $r = $c->put('id/videos/failed.mp4', $large);
    is($r->{rc}, 'again', 'to be tried again');
    like($r->{text}, qr/500 InternalError/, 'says why');
    is($s3->unfinished, 0, 'its parts are gone');

    $s3->answer(200, 'InternalError', method => 'POST', match => 'uploadId=');
    $r = $c->put('id/videos/failed.mp4', $large);
    is($r->{rc}, 'again', 'so is an error in a "200 OK"');
    is($s3->unfinished, 0, 'its parts are gone');
    ok(!object('id/videos/failed.mp4'), 'there is no such object');

    $s3->normal;
};


subtest 'wrong credentials, bucket and region are refused, and named' => sub {
    my @cases = (
        [{ secret => 'wrong' }, qr/DoesNotMatch: check s3_secret_key/],
        [{ access => 'wrong' }, qr/AccessKeyId: check s3_access_key/],
        [{ uri => 's3://another/x' }, qr/NoSuchBucket: make the bucket/],
        [{ region => 'us-east-1' }, qr/"eu-west-1": set s3_region to that/],
        [{ token => 'wrong' }, qr/InvalidToken: check AWS_SESSION_TOKEN/],
    );

    for (@cases) {
        my ($arg, $text) = @$_;
        my $wrong = Livestream::Test::S3::Client->new($s3, %$arg);
        my ($name) = %$arg;

        for my $file ($small, $large) {
            my $r = $wrong->put('id/refused.mp4', $file);
            is($r->{rc}, 'refused', "another $name");
            like($r->{text}, $text, 'what to do about it');
            unlike($r->{text}, qr/\Q$s3->{secret}\E/, 'no secret in it');
        }
    }

    $s3->answer(307, 'TemporaryRedirect',
                headers => { 'x-amz-bucket-region' => 'ap-east-1' });
    my $r = $c->put('id/refused.mp4', $small);
    is($r->{rc}, 'refused', 'a redirect is not followed');
    like($r->{text}, qr/"ap-east-1": set s3_region/, 'but explained');

    $s3->normal;
    ok(!object('id/refused.mp4'), 'nothing was stored');
};


subtest 'a session\'s token is sent and signed' => sub {
    my $other = Livestream::Test::S3->new("$dir/token", token => 'a/b+c==');
    my $client = Livestream::Test::S3::Client->new($other);

    is($client->put('id/a.m4s', $small)->{rc}, 'ok', 'stored');
    is($client->put('id/b.mp4', $large)->{rc}, 'ok', 'stored in parts');

    my $url = $client->url('id/a.m4s', 60);
    is(`curl -s -o /dev/null -w '%{http_code}' '$url'`, 200, 'presigned');
};


subtest 'a server that is away, and is back' => sub {
    $s3->stop;
    my $r = $c->put('id/away.m4s', $small);
    is($r->{rc}, 'again', 'to be tried again');
    like($r->{text}, qr/connect/i, 'says why');

    $s3->start;
    is($c->put('id/away.m4s', $small)->{rc}, 'ok', 'stored');
};


subtest 'a server that breaks the connection in the middle' => sub {
    # twice: on a connection that was kept, libcurl tries once more itself
    $s3->cut(1_000_000, 2);
    my $r = $c->put('id/cut.m4s', $small);
    is($r->{rc}, 'again', 'to be tried again') or diag $r->{text};
    ok(!object('id/cut.m4s'), 'nothing was stored');

    $s3->normal;
    is($c->put('id/cut.m4s', $small)->{rc}, 'ok', 'stored');

    $s3->cut(20_000_000, 1);
    is($c->put('id/cut.mp4', $large)->{rc}, 'again', 'in the second part');
    is($s3->unfinished, 0, 'its parts are gone');

    $s3->normal;
};


subtest 'a server that has too much to do' => sub {
    for ([503, 'SlowDown'], [429, 'TooManyRequests'], [500, 'InternalError']) {
        $s3->answer(@$_);
        my $r = $c->put('id/busy.m4s', $small);
        is($r->{rc}, 'again', "$_->[0] is to be tried again");
        like($r->{text}, qr/$_->[0] $_->[1]/, 'says so');
    }

    $s3->normal;
};


subtest 'bytes that change on the way, or in the store' => sub {
    $s3->flip('before');
    my $r = $c->put('id/flip.m4s', $small);
    is($r->{rc}, 'again', 'the server finds that they are others');
    like($r->{text}, qr/BadDigest/, 'says so');

    $s3->flip('after');
    $r = $c->put('id/flip.m4s', $small);
    is($r->{rc}, 'again', 'its ETag tells what it has stored');
    like($r->{text}, qr/other bytes/, 'says so');

    is($c->put('id/flip.mp4', $large)->{rc}, 'again', 'of a part as well');
    is($s3->unfinished, 0, 'the parts are gone');

    $s3->normal;
    is($c->put('id/flip.m4s', $small)->{rc}, 'ok', 'stored');
    is(object('id/flip.m4s')->{md5}, sum($small), 'as it is');
};


subtest 'what is stored but not there, or not whole, is not confirmed' => sub {
    $s3->answer(404, 'NoSuchKey', method => 'HEAD');
    is($c->put('id/a.m4s', $small)->{rc}, 'again', 'not there');

    $s3->answer(200, '', method => 'HEAD', headers => { ETag => '"1"' });
    is($c->put('id/a.m4s', $small)->{rc}, 'again', 'another one');

    $s3->answer(403, '', method => 'HEAD');
    is($c->put('id/a.m4s', $small)->{rc}, 'refused',
       'a key that may not look');

    $s3->normal;
};


subtest 'a slow server, and one that is silent, are left at once on stop'
    => sub
{
    for my $file ($small, $large) {
        $s3->slow(200_000);

        my $id = $c->begin(put => 'id/slow.mp4', $file);
        is($c->end($id, 1), undef, 'under way');

        my $start = time();
        $s3->normal if $file eq $large;
        $c->stop;
        my $r = $c->end($id);

        is($r->{rc}, 'stopped', 'stopped');
        cmp_ok(time() - $start, '<', Livestream::Test::slow(3), 'soon');
        $c->go;
    }

    is($s3->unfinished, 0, 'no parts are left');

    $s3->hang;
    my $id = $c->begin(put => 'id/silent.m4s', $small);
    is($c->end($id, 1), undef, 'under way');

    my $start = time();
    $c->stop;
    is($c->end($id)->{rc}, 'stopped', 'stopped');
    cmp_ok(time() - $start, '<', Livestream::Test::slow(3), 'soon');
    $c->go;

    $s3->normal;
    ok(!object('id/silent.m4s'), 'nothing was stored');
};


subtest 'a file that is not there, and one that changes meanwhile' => sub {
    is($c->put('id/none.m4s', "$dir/none.m4s")->{rc}, 'absent', 'not there');
    is($c->put('id/dir.m4s', $dir)->{rc}, 'refused', 'a folder');

    for (['shorter', 1_000_000], ['longer', 4_000_000]) {
        my ($what, $size) = @$_;
        my $file = make_file('changing.m4s', 3_750_000);

        $s3->slow(2_000_000);
        my $id = $c->begin(put => 'id/changing.m4s', $file);
        is($c->end($id, 0.5), undef, 'under way');

        truncate $file, $size or die "truncate: $!\n";
        $s3->normal if $what eq 'longer';
        is($c->end($id)->{rc}, 'again', "$what: to be tried again");
    }

    $s3->normal;
};


subtest 'an answer without an end' => sub {
    $s3->answer(500, 'x' x (4 * MIB));

    my $r = $c->put('id/endless.m4s', $small);
    is($r->{rc}, 'again', 'is not waited for');
    is($r->{text}, 'PUT: 500', 'nor taken for a reason');

    $s3->normal;
};


subtest 'a certificate that nobody vouches for' => sub {
    Livestream::Test::make_certificate($dir);

    my $tls = Livestream::Test::S3->new("$dir/tls", key => "$dir/tls.key",
                                        certificate => "$dir/tls.crt");
    my $client = Livestream::Test::S3::Client->new($tls);
    my $r = $client->put('id/a.m4s', $small);

    is($r->{rc}, 'refused', 'is not trusted');
    like($r->{text}, qr/certificate/, 'says so');
    is_deeply($tls->requests, [], 'nothing was sent');
};


subtest 'connections are kept' => sub {
    $s3->requests;
    $c->put("id/kept/$_.m4s", $small) for 1 .. 10;
    is(scalar @{ $s3->requests }, 20, 'of twenty requests');
    cmp_ok($s3->connections, '<=', 1, 'on one that there was, or a new one');
};


subtest 'many at once, on as many connections' => sub {
    my @ids = map { $c->begin(put => "id/many/segment-$_.m4s", $small) }
        1 .. 40;

    is_deeply([map { $c->end($_)->{rc} } @ids], [('ok') x 40], 'all stored');

    $s3->requests;
    cmp_ok($s3->connections, '<=', 40, 'no more connections than threads');

    my $objects = $s3->objects;
    is(scalar(grep { m{^recordings/id/many/}
                     && $objects->{$_}{md5} eq sum($small) } keys %$objects),
       40, 'each as it was');
};


is($c->close, 0, 'the client has ended without a complaint');

done_testing();
