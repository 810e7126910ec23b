# The console and a stream of several levels: its settings do not reach the
# server, or a fault is not told at its field; levels are mixed up, cannot be
# chosen, or the wrong one is marked; thumbnails are stale or broken.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Browser;

my $t = Livestream::Test->new(
    livestream => 'part_duration 500ms; segment_duration 2s; max_transcodes 32;
                   reconnect_window 1s;
                   rung 360p 640x360 400k; rung 180p 320x180 150k;',
    main       => $> == 0 ? 'user root;' : '',
    http       => 'types { text/html html; text/css css; text/javascript js;
                           image/svg+xml svg; }',
    locations  => 'location /console/ { alias %%CHECKOUT%%/conf/console/; }',
);
$t->start;

my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(size => '640x360', gop => 1, seconds => 20,
                        video => ['libx264', '-preset', 'veryfast',
                                  '-b:v', '1M', '-bf', 0],
                        audio => ['aac', '-b:a', '64k']);

my $b = Livestream::Test::Browser->start($t);
my $url = "http://127.0.0.1:$t->{http}/console/";

sub text {
    my ($css) = @_;

    return $b->eval("document.querySelector('$css')?.innerText");
}

sub texts {
    my ($css) = @_;

    return $b->eval("[...document.querySelectorAll('$css')].map(
                         (e) => e.textContent)");
}

sub settings {
    my ($id) = @_;

    my (undef, $stream) = $t->api(GET => "/livestreams/$id");

    return $stream->{settings};
}

# the fields at which a fault is shown
sub faults {
    return $b->eval('[...document.querySelectorAll("[aria-invalid]")].map(
                         (e) => e.name)');
}


# ---- the form

$b->open("$url#/new");
$b->fill('[name=title]', 'A ladder');
$b->fill('[name=user_id]', 'operator');
$b->click('summary:has-text("Encoding")');
$b->choose('[name=enable_transcoding]', 'On');
$b->choose('[name=codec]', 'H.264');
$b->fill('[name=resolutions]', '360p, 4k');
$b->fill('[name=audio_bitrate]', '96');
$b->fill('[name=keyframe_interval]', '1');
$b->click('[type=submit]');

ok($b->wait('document.querySelector("[aria-invalid]")'),
   'a rung that the server does not have is a fault')
    or diag(text('.form'));
is_deeply(faults(), ['resolutions'], 'at its field');
like(text('#f-resolutions-fault'), qr/rung/, 'which says why');
is($b->eval('document.activeElement.name'), 'resolutions',
   'and has the focus');

$b->fill('[name=resolutions]', '360p, 180p');
$b->fill('[name=audio_bitrate]', '9999');
$b->click('[type=submit]');
ok($b->wait('document.querySelector("[name=audio_bitrate][aria-invalid]")'),
   'a bitrate that is too high is another');
is_deeply(faults(), ['audio_bitrate'], 'and the first one is forgotten');

$b->fill('[name=audio_bitrate]', '96');
$b->click('[type=submit]');
ok($b->wait('document.querySelector(".reveal")'), 'the stream is made')
    or diag(text('.form'));

my ($key) = text('.reveal') =~ m{/(sk_\w+)};
my ($id) = $b->eval('location.hash') =~ m{^#/streams/([\w-]+)$};

is_deeply(settings($id),
          { enable_transcoding => JSON_TRUE, codec => 'h264',
            resolutions => ['360p', '180p'], audio_bitrate => 96,
            keyframe_interval => 1 },
          'with the settings that were chosen, and no other');

# of what others have set the form takes nothing away
$t->api(PATCH => "/livestreams/$id",
        { settings => { gpu_acceleration => JSON_FALSE } });
$b->open("$url#/streams/$id/edit");
ok($b->wait('document.querySelector("[name=resolutions]")?.value
             === "360p 180p"'), 'the form shows the settings');
is($b->eval('document.querySelector("[name=gpu_acceleration]").value'), 'Off',
   'also of others');
$b->choose('[name=codec]', "Server's default");
$b->fill('[name=audio_bitrate]', '');
$b->click('[type=submit]');
ok($b->wait('document.querySelector(".facts")'), 'and saves them');
is_deeply(settings($id),
          { enable_transcoding => JSON_TRUE, resolutions => ['360p', '180p'],
            keyframe_interval => 1, gpu_acceleration => JSON_FALSE },
          'those that were emptied are the server\'s again');


# ---- levels

my $p = $bench->publish($key, $clip, '--loop');

ok($b->wait('document.querySelector("video").currentTime > 1', 20),
   'it plays') or diag($p->output, $t->log);
ok($b->wait('document.querySelectorAll(".levels tbody tr").length === 3'),
   'the levels are listed') or diag(text('.levels'));

is_deeply(texts('.levels [data-f=Level]'), ['Source 360p', '360p', '180p'],
          'two of the same height can be told apart');
is_deeply(texts('.levels [data-f=Picture]'),
          ["640\x{d7}360", "640\x{d7}360", "320\x{d7}180"],
          'with their sizes');

is(grep({ /^avc1\.\w{6}, mp4a\.40\.2$/ }
        @{ texts('.levels [data-f=Codecs]') }), 3, 'with codecs');
is(grep({ /^[\d.]+ [kM]bit\/s$/ } @{ texts('.levels [data-f=Peak]') }), 3,
   'and bitrates');

my @options = @{ texts('.metertools option') };

like($options[1], qr{^Source 360p \x{b7} [\d.]+ [kM]bit/s$},
     'a choice says how many bits');
like($options[2], qr/^360p \x{b7} /, 'also of a rung');

sub current { text('.levels [aria-current] [data-f=Level]') }

ok($b->wait(q{document.querySelector(".metertools option").textContent
              === "Auto (" + document.querySelector(
                  ".levels [aria-current] [data-f=Level]")?.textContent
              + ")"}), 'Auto says which it is')
    or diag($options[0], current());

$b->choose('.metertools select', '180p');
ok($b->wait('document.querySelector("video").videoHeight === 180', 20),
   'the one that is chosen is played');
ok($b->wait('document.querySelector(".levels [aria-current]")?.dataset.track
             === "180p"'), 'and marked') or diag(current());
ok($b->wait('document.querySelector(".figures [data-f=Level]").textContent
             === "180p"'), 'and measured');
is(texts('.metertools option')->[0], 'Auto', 'Auto says nothing then');

my $at = $b->eval('document.querySelector("video").currentTime');
ok($b->wait('document.querySelector("video").currentTime > ' . ($at + 2)),
   'it plays on');

$p->stop;
ok($b->wait('document.querySelector(".head .badge").dataset.status
             === "ended"'), 'the broadcast ends');
$p = $bench->publish($key, $clip, '--loop');
ok($b->wait('document.querySelector(".head .badge").dataset.status
             === "live"'), 'and another one begins');
ok($b->wait('document.querySelector(".levels [aria-current]")?.dataset.track
             === "180p"', 20), 'of which that level is played')
    or diag(current());
is($b->eval('document.querySelector(".metertools select").value'), '180p',
   'as it was chosen');

$b->choose('.metertools select', 'source');
ok($b->wait('document.querySelector("video").videoHeight === 360', 20),
   'another one can be chosen');
$b->choose('.metertools select', 'Auto');
ok($b->wait('document.querySelector(".metertools option").textContent
             .startsWith("Auto (")'), 'and Auto again');


# ---- thumbnails

my $image = qq{document.querySelector('.list a[href\$="$id"] img')};

ok($b->wait("$image.complete && $image.naturalWidth > 0
             && getComputedStyle($image).visibility === 'visible'", 15),
   'the list has a picture of the stream');

my $src = $b->eval("$image.src");

# audio alone has none
my $audio = $t->create(title => 'Audio alone');
my $q = $t->publish($audio, video => 0);
my $none = qq{document.querySelector('.list a[href\$="$audio->{id}"] img')};

ok($b->wait("$none?.src && $none.complete && !$none.naturalWidth", 20),
   'of another there is none');
is($b->eval("getComputedStyle($none).visibility"), 'hidden',
   'where nothing broken is shown');
is($b->eval("$none.closest('li').offsetHeight"),
   $b->eval("$image.closest('li').offsetHeight"),
   'in a row that is as high');

ok($b->wait("$image.src !== '$src' && $image.naturalWidth > 0", 20),
   'a picture is replaced by a newer one');

$q->stop;
$p->stop;
$t->api(POST => "/livestreams/$id/stop");
ok($b->wait("!$image.offsetWidth"), 'what is off air has no picture');

is_deeply([grep { !/404|422|400 \(/ } @{ $b->messages }], [],
          'the page complained of nothing, its security policy included');

$b->stop;
$t->stop;
done_testing();
