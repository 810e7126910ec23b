#!/usr/bin/perl

# Copyright (C) nginx-livestream contributors
#
# What is wrong with a storage in S3 is said when nginx starts, in a line that
# names the directive; credentials come from directives or the environment and
# are in no log.

use v5.28;
use warnings;

use Livestream::Test;

my $uri = 'recording_storage s3://live/recordings;';
my $keys = 's3_access_key AKID; s3_secret_key sEcReT;';
my %env = (AWS_ACCESS_KEY_ID => 'AKID', AWS_SECRET_ACCESS_KEY => 'sEcReT');

delete $ENV{$_} for grep { /^AWS_/ } keys %ENV;


sub configure {
    my ($directives, $env, %option) = @_;

    my $t = Livestream::Test->new(workers => 1, livestream => $directives,
                                  %option);

    $t->{env} = { %{ $t->{env} // {} }, %{ $env // {} } };

    return $t;
}


for (
    ['an endpoint and keys', "$uri s3_endpoint http://127.0.0.1:9000; $keys"],
    ['Amazon, a region', "$uri s3_region eu-west-1; $keys"],
    ['all from the environment', $uri,
     { %env, AWS_SESSION_TOKEN => 'a+/b==', AWS_REGION => 'eu-west-1',
       AWS_ENDPOINT_URL => 'http://127.0.0.1:9000' }],
    ['a secret from the environment', "$uri s3_access_key AKID;", \%env],
    ['directives come first',
     "$uri $keys s3_region eu-west-1; s3_endpoint http://127.0.0.1:9000;",
     { AWS_ACCESS_KEY_ID => "\e", AWS_REGION => 'no region',
       AWS_ENDPOINT_URL => 'nowhere' }],
    ['directives that nobody needs', $keys],
) {
    my ($name, $directives, $env) = @$_;
    my ($status, $said) = configure($directives, $env)->test_conf;

    is($status, 0, $name) or diag($said);
}


for (
    ['no keys at all', $uri, {},
     qr/"s3_access_key" is not set, nor is AWS_ACCESS_KEY_ID/],
    ['no secret', "$uri s3_access_key AKID;", {},
     qr/"s3_secret_key" is not set, nor is AWS_SECRET_ACCESS_KEY/],
    ['an empty key in the environment', $uri,
     { %env, AWS_ACCESS_KEY_ID => '' },
     qr/"s3_access_key" is not set/],
    ['a secret with a line\'s end', $uri,
     { %env, AWS_SECRET_ACCESS_KEY => "sEcReT\r\nX: y" },
     qr/AWS_SECRET_ACCESS_KEY, is no valid key/],
    ['a token with a line\'s end', $uri,
     { %env, AWS_SESSION_TOKEN => "t\nX: y" },
     qr/AWS_SESSION_TOKEN is no valid token/],
    ['no bucket', "recording_storage s3://; $keys", {},
     qr/recording_storage "s3:\/\/".*a bucket's name has/],
    ['a bucket that cannot be', "recording_storage s3://Live_1; $keys", {},
     qr/a bucket's name is of lower-case letters/],
    ['a prefix that leads elsewhere',
     "recording_storage s3://live/../x; $keys", {},
     qr/must not have/],
    ['an endpoint that is no URL', "$uri $keys s3_endpoint 127.0.0.1:9000;",
     {}, qr/the endpoint must be such as "http:\/\/host:9000"/],
    ['one with a path', "$uri $keys s3_endpoint http://h/x;", {},
     qr/the endpoint must have no path/],
    ['one of the environment', "$uri $keys", { AWS_ENDPOINT_URL => 'x' },
     qr/endpoint "x".*must be such as/],
    ['a region that cannot be', "$uri $keys s3_region Frankfurt;", {},
     qr/region "Frankfurt": the region must be such as "us-east-1"/],
    ['no connections', "$uri $keys s3_connections 0;", {},
     qr/"s3_connections" must be 1 to 256/],
    ['too many connections', "$uri $keys s3_connections 1000;", {},
     qr/"s3_connections" must be 1 to 256/],
) {
    my ($name, $directives, $env, $why) = @$_;
    my $t = configure($directives, $env);

    $t->allow(qr/\[emerg\]/);
    my ($status, $said) = $t->test_conf;

    is($status, 1, $name);
    like($said, qr/\[emerg\].*$why/, 'is told');
    unlike($said, qr/sEcReT/, 'and no secret');
}


my $t = configure($uri, {}, without => ['ngx_livestream_s3_module']);
$t->allow(qr/\[emerg\]/);
my ($status, $said) = $t->test_conf;

is($status, 1, 'without the engine\'s module');
like($said, qr/\[emerg\].*load_module/, 'is told');


# workers have no environment: what they need of it, they were given

$t = configure($uri, { %env, AWS_ENDPOINT_URL => 'http://127.0.0.1:9' });
$t->start;
is(scalar $t->workers, 1, 'a worker with credentials of the environment');
$t->reload;
ok((wait_for { $t->workers == 1 }), 'and one after a reload');
$t->stop('QUIT');
unlike($t->log, qr/sEcReT|AKID/, 'no credentials are in the log');

done_testing();
