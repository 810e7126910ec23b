# What may be asked of the transcoder, and of whom: directives that make no
# sense stop nginx, settings that cannot be met get a 422 that names them, and
# a stream that is one too many, or whose rungs are gone, is passed through.

use Livestream::Test;

use JSON::PP;


# ---- directives: nginx -t

my $twelve = join ' ', map { "rung r$_ 64x32 10k;" } 1 .. 12;
my $long = 'x' x 16;

for (
    ['transcode yes;', qr/it must be "on" or "off"/],
    ['gpu cuda;', qr/invalid value "cuda"/],
    ['video_codec h265;', qr/invalid value "h265"/],
    ['video_codec av1;', qr/invalid value "av1"/],
    ['video_preset placebo;', qr/invalid value "placebo"/],
    ['video_preset fast; video_preset slow;', qr/duplicate/],
    ['audio_bitrate 7999;', qr/"audio_bitrate" must be between 8k and 512k/],
    ['audio_bitrate 513k;', qr/"audio_bitrate" must be between 8k and 512k/],
    ['audio_bitrate 1g;', qr/no valid bitrate/],
    ['audio_bitrate -1k;', qr/no valid bitrate/],
    ['audio_bitrate k;', qr/no valid bitrate/],
    ['audio_bitrate 99999999999999999999;', qr/no valid bitrate/],
    ['audio_bitrate 96k; audio_bitrate 96k;', qr/duplicate/],
    ['keyframe_interval 99ms;', qr/must be between 100ms and 20s/],
    ['keyframe_interval 21s;', qr/must be between 100ms and 20s/],
    ['keyframe_interval often;', qr/invalid value/],
    ['max_transcodes -1;', qr/invalid number/],
    ['max_transcodes auto;', qr/invalid number/],
    ['rung 720p 1280x720;', qr/invalid number of arguments in "rung"/],
    ['rung 720p 1280x720 2800k fast;', qr/invalid number of arguments/],
    ['rung 720P 1280x720 2800k;', qr/no valid name/],
    ['rung "" 1280x720 2800k;', qr/no valid name/],
    ['rung a-b 1280x720 2800k;', qr/no valid name/],
    ['rung ../x 1280x720 2800k;', qr/no valid name/],
    ["rung $long 1280x720 2800k;", qr/no valid name/],
    ['rung source 1280x720 2800k;', qr/means something else in URLs/],
    ['rung audio 1280x720 2800k;', qr/means something else in URLs/],
    ['rung recordings 1280x720 2800k;', qr/means something else in URLs/],
    map({ ["rung x $_ 2800k;", qr/no valid size/] }
        qw(720 x 1280 1280x x720 1280x720x 1280*720 1280X720 -2x720 3x3 30x32
           32x30 1281x720 1280x721 8194x720 1280x8194 1280x99999999999999999999
           0x0)),
    map({ ["rung x 1280x720 $_;", qr/no valid bitrate/] }
        qw(0 9999 9k 501m 99999999999999999999m 2.8m 2800kbps fast)),
    ['rung a 640x360 1m; rung a 320x180 500k;', qr/duplicate: its name/],
    ["$twelve rung one 64x32 10k;", qr/one too many: there may be 12/],
    ['rung a 640x480 1m; rung b 854x360 1m;',
     qr/rung "b" is wider than "a", which is higher/],
) {
    my ($text, $why) = @$_;
    my $t = Livestream::Test->new(livestream => $text);

    my ($status, $said) = $t->test_conf;

    is($status, 1, $text);
    like($said, $why, 'is told');
}

my $everything = <<'END';
    transcode          on;
    gpu                off;
    rung               low 320x180 300K;
    rung               top 8192x4320 500m;
    rung               same 320x180 200k;
    rung               upright 360x640 1m;
    rung               0 32x32 10000;
    video_codec        hevc;
    video_preset       ultrafast;
    audio_bitrate      8000;
    keyframe_interval  100ms;
    max_transcodes     0;
END

for ('', 'transcode on;', $everything, $twelve) {
    my $t = Livestream::Test->new(livestream => $_);

    my ($status, $said) = $t->test_conf;
    is($status, 0, 'a configuration that makes sense') or diag($_, $said);
}

SKIP: {
    skip 'there is a driver', 2 if `ldconfig -p` =~ /\blibcuda\.so\.1\b/;

    my $t = Livestream::Test->new(livestream => 'gpu on;');
    my ($status, $said) = $t->test_conf;

    is($status, 1, 'gpu on where there is no driver');
    like($said, qr/\[emerg\] .*"gpu on" cannot be had: \w/, 'is told');
}


# ---- encoders that libavcodec was built without

my $t = Livestream::Test->new;

Livestream::Test::write_file("$t->{dir}/lacks.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

const void *
avcodec_find_encoder_by_name(const char *name)
{
    const void *(*find)(const char *) =
        dlsym(RTLD_NEXT, "avcodec_find_encoder_by_name");

    return strcmp(name, "libvpx-vp9") ? find(name) : NULL;
}
END

my $lacks = "$t->{dir}/lacks.so";
system("gcc -shared -fPIC -o $lacks $t->{dir}/lacks.c -ldl") == 0
    or die "gcc failed\n";

my %lacks = (
    LD_PRELOAD   => $lacks,
    ASAN_OPTIONS => "$t->{env}{ASAN_OPTIONS}:verify_asan_link_order=0",
);

for (['video_codec vp9;', 1], ['video_codec hevc;', 0]) {
    my ($text, $want) = @$_;
    my $t = Livestream::Test->new(livestream => $text, env => \%lacks);

    my ($status, $said) = $t->test_conf;

    is($status, $want, "$text without an encoder for VP9");
    like($said, qr/\[emerg\] .*"video_codec vp9" cannot be had: \w/,
         'is told') if $want;
}


# ---- settings: 422

# Answers and, when it is a problem, its field.
sub asked {
    my ($t, $method, $path, %settings) = @_;

    my $body = { settings => \%settings };
    @$body{qw(title user_id)} = qw(x y) if $method eq 'POST';

    my ($status, $answer) = $t->api($method => $path, $body);

    return ($status, $answer->{field}, $answer);
}

sub cannot {
    my ($t, $field, %settings) = @_;

    my $name = encode_json(\%settings);
    my ($status, $where, $p) = asked($t, POST => '/livestreams', %settings);

    is($status, 422, "$name cannot be met");
    is($where, "settings.$field", "which is told of $field");
    is($p->{title}, 'Unprocessable Content', 'as a problem');
    like($p->{detail}, qr/^settings\.$field \w+ \w+ \S+/, 'that says why');
}

sub can {
    my ($t, %settings) = @_;

    my ($status, undef, $s) = asked($t, POST => '/livestreams', %settings);

    is($status, 201, encode_json(\%settings) . ' can be met');
    return $s;
}

$t = Livestream::Test->new(workers => 1, env => \%lacks,
                           livestream => 'segment_duration 4s;');
$t->start;

cannot($t, resolutions => resolutions => [$_])
    for qw(3x3 144p 1080 7200p 1080px source audio);
cannot($t, resolutions => resolutions => ['720p', '144p']);
cannot($t, codec => codec => $_) for qw(vp9 av1 hevc);
cannot($t, codec => codec => 'vp9', enable_transcoding => JSON_TRUE);
cannot($t, audio_codec => audio_codec => 'mp3');
cannot($t, keyframe_interval => keyframe_interval => 4.1);
cannot($t, keyframe_interval => keyframe_interval => 2, segment_duration => 1);

can($t, enable_transcoding => JSON_TRUE, codec => $_) for qw(h264 h265);
can($t, resolutions => [qw(240p 1080p)], keyframe_interval => 4,
    gpu_acceleration => JSON_TRUE, audio_codec => 'opus');

my $s = can($t, enable_transcoding => JSON_TRUE, resolutions => ['720p'],
            keyframe_interval => 3);

for (['resolutions', resolutions => ['8k']],
     ['keyframe_interval', segment_duration => 2],
     ['codec', codec => 'vp9']) {
    my ($field, @settings) = @$_;
    my ($status, $where) = asked($t, PATCH => "/livestreams/$s->{id}",
                                 @settings);

    is($status, 422, "a patch of $settings[0] that cannot be met");
    is($where, "settings.$field", "is told of $field");
}

is((asked($t, PATCH => "/livestreams/$s->{id}", resolutions => ['480p'],
          segment_duration => 3))[0], 200, 'a patch that can');

# what was stored when the server was another one
$t->sql(q(UPDATE live_streams SET settings =
          '{"enable_transcoding":true,"codec":"vp9"}')
        . " WHERE id = '$s->{id}'");
my $bad = can($t);
$t->sql(q(UPDATE live_streams SET settings = '{"codec":7}')
        . " WHERE id = '$bad->{id}'");

$t->publish($_) for $s, $bad;
ok($t->wait_live($s), 'a stored codec that there is no encoder for');
like($t->log, qr/\[warn\].*stream $s->{id}: passed through, it cannot be/,
     'is passed through');
ok($t->log_like(qr/\[error\].*$bad->{id}: its settings are invalid, "codec"/),
   'stored settings that are none');
$t->stop;

$t = Livestream::Test->new(workers => 1,
                           without => ['ngx_livestream_transcode_module']);
$t->start;
cannot($t, enable_transcoding => enable_transcoding => JSON_TRUE);
can($t, enable_transcoding => JSON_FALSE, codec => 'h264',
    resolutions => ['any']);
$t->stop;


# ---- rungs of its settings that are no longer configured

my %rungs = (all => 'rung high 320x180 300k; rung low 160x90 100k;',
             one => 'rung low 160x90 100k;');

$t = Livestream::Test->new(workers => 1, livestream => $rungs{all});
$t->start;

my @streams = map {
    can($t, enable_transcoding => JSON_TRUE, resolutions => $_)
} ['high', 'low'], ['high'];

Livestream::Test::write_file("$t->{dir}/nginx.conf",
                             $t->conf =~ s/\Q$rungs{all}\E/$rungs{one}/r);
ok($t->reload && wait_for { $t->workers('all') == 1 },
   'a reload without a rung');

my @publishers = map { $t->publish($_) } @streams;

ok($t->wait_live($_), 'is no obstacle to a stream that asks for it')
    for @streams;

like($t->log, qr/\[warn\].*stream $_->{id}: left out rung "high"/,
     'which is told of it') for @streams;
unlike($t->log, qr/stream $streams[0]{id}: passed through/,
       'and has the other one');
like($t->log, qr/\[warn\].*stream $streams[1]{id}: passed through.*no rungs/,
     'or is passed through');
$t->stop;


# ---- a place for each, of all workers

$t = Livestream::Test->new(livestream => "$rungs{all} transcode on;
    segment_duration 1s; max_transcodes 1;");
$t->start;

my ($first, $second, $third, $plain) =
    map { $t->create(title => $_) } qw(first second third plain);
$t->api(PATCH => "/livestreams/$plain->{id}",
        { settings => { enable_transcoding => JSON_FALSE } });

sub refused {
    my ($s) = @_;
    return qr/\[warn\].*stream $s->{id}: passed through, "max_transcodes"/;
}

sub status_is {
    my ($s, $status) = @_;

    return wait_for {
        ($t->api(GET => "/livestreams/$s->{id}"))[1]{status} eq $status;
    };
}

my $other = $t->publish($plain);
ok($t->wait_live($plain), 'a stream that is not to be transcoded');
my $p = $t->publish($first);
ok($t->wait_live($first), 'takes no place from one that is');
my $q = $t->publish($second);
ok($t->wait_live($second), 'one too many can be played');
unlike($t->log, qr/stream $first->{id}: passed through/, 'the first has it');
like($t->log, refused($second), 'the second is passed through, which is told');
$q->stop;

$p->kill;
ok(status_is($first, 'interrupted'), 'interrupted');
$q = $t->publish($third);
ok($t->wait_live($third), 'another one');
like($t->log, refused($third), 'does not get its place');

$p = $t->publish($first);
ok(status_is($first, 'live'), 'it comes back');
unlike($t->log, refused($first), 'and has it still');

$p->stop;
$t->api(POST => "/livestreams/$first->{id}/stop");
ok(status_is($first, 'stopped'), 'once it is over');
my $fourth = $t->create(title => 'fourth');
$p = $t->publish($fourth);
ok($t->wait_live($fourth), 'the next one');
unlike($t->log, qr/stream $fourth->{id}: passed through/, 'has its place');

kill KILL => $_ for $t->workers;
ok($t->log_like(qr/stream $fourth->{id}: taken over/, 10),
   'a worker dies with it');
$_->wait for $p, $q, $other;
$p = $t->publish($fourth);
ok(status_is($fourth, 'live'), 'its publisher comes back');
unlike($t->log, qr/stream $fourth->{id}: passed through/,
       'to the place it had');

$t->allow(qr/exited on signal 9/);
$t->stop;

done_testing();
