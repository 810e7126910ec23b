# The console as its operator uses it: a stream is made with the form, ffmpeg
# publishes with the key that is shown, the picture is seen, the stream is
# stopped.  Titles are hostile.

use Livestream::Test;
use Livestream::Test::Browser;

my $title = '<img src=x onerror=alert(1)> & "co"';

my $t = Livestream::Test->new(
    livestream => 'part_duration 500ms; segment_duration 2s;',
    main       => $> == 0 ? 'user root;' : '',
    http       => 'types { text/html html; text/css css; text/javascript js;
                           image/svg+xml svg; }',
    locations  => 'location /console/ { alias %%CHECKOUT%%/conf/console/; }',
);
$t->start;

my $b = Livestream::Test::Browser->start($t);
my $url = "http://127.0.0.1:$t->{http}/console/";

sub text {
    my ($css) = @_;

    return $b->eval("document.querySelector('$css')?.innerText");
}

sub shows {
    my ($css, $text, $name, $seconds) = @_;

    ok($b->wait("document.querySelector('$css')?.innerText.includes('$text')",
                $seconds // 10), $name) or diag(text($css));
}

$b->open($url);
shows('#list', 'no stream yet', 'an empty list says so');

# the form, first with a fault
$b->click('#new');
$b->fill('[name=title]', $title);
$b->fill('[name=user_id]', '');
$b->click('.group summary');
$b->fill('[name=segment_duration]', 'long');
$b->click('[type=submit]');
ok($b->wait('document.querySelectorAll(".field [aria-invalid]").length'),
   'the API finds a fault')
    or diag(text('.form'));
ok($b->eval('[...document.querySelectorAll(".field .fault")].some(
                 (f) => !f.hidden && f.textContent)'),
   'and it is told at the field');
is_deeply([grep { !/400 \(Bad Request\)|422/ } @{ $b->messages }], [],
          'no other error');

$b->fill('[name=user_id]', 'operator');
$b->fill('[name=segment_duration]', '2');
$b->click('[type=submit]');
ok($b->wait('document.querySelector(".reveal")'), 'then the stream is made')
    or diag(text('.form'));

my ($rtmp) = text('.reveal') =~ m{(rtmp://\S+/sk_\w+)};
ok($rtmp, 'its RTMP URL is shown');
is(text('h1'), $title, 'its title is what was typed');
is($b->eval('document.querySelectorAll("h1 *, .list .title *").length'), 0,
   'and no HTML');

my ($id) = $b->eval('location.hash') =~ m{^#/streams/([\w-]+)$};
ok($id, 'the page has an address');

my ($status, $stream) = $t->api(GET => "/livestreams/$id");
is($stream->{settings}{segment_duration}, 2, 'the settings are kept');

# publish with what is shown
my $p = $t->publish(undef, url => $rtmp, size => '640x360');

shows('.head .badge', 'Live', 'the console sees it live', 15);
ok($b->wait('document.querySelector("video").currentTime > 1', 15),
   'it plays');
ok($b->wait('Number(document.querySelector(".now b").textContent) > 0'),
   'the latency is measured');

my $latency = text('.now b');
cmp_ok($latency, '<', Livestream::Test::slow(4), "as $latency s");
ok($b->wait(q{document.querySelector('[data-f="Picture"]').textContent
              === "640\u00d7360"}), 'and the picture');

my $colours = $b->eval(<<'END');
(() => {
    const canvas = document.createElement("canvas");
    const draw = canvas.getContext("2d");
    canvas.width = 64;
    canvas.height = 36;
    draw.drawImage(document.querySelector("video"), 0, 0, 64, 36);
    const {data} = draw.getImageData(0, 0, 64, 36);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4) {
        seen.add([data[i] >> 5, data[i + 1] >> 5, data[i + 2] >> 5].join());
    }
    return seen.size;
})()
END
cmp_ok($colours, '>', 8, 'which is not black');

# the key is not shown again
$b->open("$url#/streams/$id");
shows('h1', 'onerror', 'the address opens the player');
ok(!$b->eval('document.body.innerText.includes("sk_")'), 'without the key');
ok($b->wait('document.querySelector("video").currentTime > 1', 15),
   'which plays again');

# stop, with a question before
$b->click('.tools button:has-text("Stop")');
ok($b->eval('document.querySelector("dialog").open'), 'stop asks');
$b->press('Escape');
ok($p->running, 'and does nothing on Escape');
$b->click('.tools button:has-text("Stop")');
$b->click('#dialog-yes');
shows('.head .badge', 'Stopped', 'then the stream is stopped');
ok(defined $p->wait(10), 'and its publisher sent away');

# start shows the key
$b->click('.tools button:has-text("Start")');
shows('.reveal', 'sk_', 'start shows how to publish');

# delete
$b->click('.tools button:has-text("Delete")');
$b->click('#dialog-yes');
shows('#list', 'no stream yet', 'a deleted stream is gone');
($status) = $t->api(GET => "/livestreams/$id");
is($status, 404, 'from the API too');

is_deeply([grep { !/404/ } @{ $b->messages }], [],
          'the page complained of nothing, its security policy included');

# the API goes away
$t->quit;
ok($t->ended, 'nginx ends');
shows('#banner', 'does not answer', 'the console says so');

$b->stop;
$t->stop;
done_testing();
