# Publishers that send what no encoder does: their session is closed with one
# line in the log, or what they say is passed over; the workers live, and
# another stream notices nothing.

use Livestream::Test;
use Livestream::Bench;
use Livestream::RTMP;

use Time::HiRes qw(sleep);

my $seed = $ENV{TEST_SEED} // time();
srand $seed;
diag("TEST_SEED=$seed") if $ENV{TEST_SEED};

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(video => ['libx264', '-preset', 'veryfast', '-bf', 2],
                        audio => ['aac']);

# the stream that must notice nothing, and its viewers
my $other = $t->create(title => 'Undisturbed');
my $publisher = $bench->publish($other, $clip, '--loop');
ok($t->wait_live($other), 'another stream is live')
    or diag($publisher->output, $t->log);
my $viewers = $bench->follow($other, 'source', 'audio');

my %flv = flv($clip);
my @workers = $t->workers;
my $s = $t->create(title => 'Under attack');

sub noise { join '', map { chr rand 256 } 1 .. $_[0] }

# one NAL unit, with a length that may lie
sub nal { pack('N', $_[1] // length $_[0]) . $_[0] }

sub avc { "\x17\x01\0\0\0" . join '', @_ }

# the publisher's start, as an encoder makes it
sub open_video { $_[0]->message(9, $flv{video_config}) }
sub open_audio { $_[0]->message(8, $flv{audio_config}) }

# What is tried. "closed" is what must become of the session: 1 it is closed,
# 0 it goes on, undef either may be right. "lines" are how many lines of the
# error log at level error may tell of it, 1 by default where it is closed.
# "raw" leaves the publishing to the attack.

my @attacks = (

    # ---- before anything was published

    { name => 'nothing at all', raw => 1, closed => undef, lines => 0,
      run => sub {} },

    { name => 'half a handshake', raw => 1, closed => undef, lines => 0,
      run => sub { $_[0]->raw("\x03" . noise(700)) } },

    { name => 'a handshake of another version', raw => 1, closed => undef,
      run => sub { $_[0]->raw("\xff" . noise(1536)) } },

    { name => 'HTTP', raw => 1, closed => undef,
      run => sub { $_[0]->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") } },

    { name => 'a TLS hello', raw => 1, closed => undef,
      run => sub { $_[0]->raw("\x16\x03\x01" . noise(2000)) } },

    { name => 'a handshake that comes byte by byte', raw => 1, closed => 0,
      run => sub {
          my ($c) = @_;
          $c->raw($_) for split //, "\x03" . "\0" x 1536;
          $c->need(1 + 2 * 1536);
          my $answer = substr $c->{in}, 0, 1 + 2 * 1536, '';
          $c->raw($_) for split //, substr $answer, 1, 1536;
          $c->command('connect', { app => 'live', tcUrl => 'rtmp://x/live' });
          ok($c->result, 'connects all the same');
      } },

    { name => 'noise behind the handshake', raw => 1, closed => undef,
      times => 20,
      run => sub { $_[0]->handshake; $_[0]->raw(noise(20000)) } },

    { name => 'an application that is not there', raw => 1, closed => 1,
      lines => 0,
      run => sub { $_[0]->connect('nowhere') } },

    { name => 'commands of AMF noise', raw => 1, closed => undef, times => 20,
      run => sub {
          $_[0]->handshake;
          $_[0]->message(20, "\x02\0\7connect" . noise(rand 300)) for 1 .. 20;
      } },

    { name => 'media before connect', raw => 1, closed => undef,
      run => sub {
          $_[0]->handshake;
          $_[0]->message(9, $_) for $flv{video_config}, @{ $flv{video} };
      } },

    { name => 'publish before connect', raw => 1, closed => undef,
      run => sub {
          $_[0]->handshake;
          $_[0]->message(20, Livestream::RTMP::amf('publish', 1, undef,
                         $s->{stream_key}, 'live'), stream => 1);
      } },

    { name => 'a key of 60,000 bytes', raw => 1, closed => 1, lines => 0,
      run => sub { $_[0]->publish('k' x 60000) } },

    { name => 'keys with quotes, NUL and wild cards', raw => 1, closed => 1,
      lines => 0,
      run => sub { $_[0]->publish(q{%' OR '1'='1' --} . "\0\x{1}\n*") } },

    # ---- video that is not

    { name => 'a video tag of one byte', closed => 1,
      run => sub { $_[0]->message(9, "\x17") } },

    { name => 'a video tag of four bytes', closed => 1,
      run => sub { $_[0]->message(9, "\x17\x01\0\0") } },

    { name => 'an AVC configuration of no bytes', closed => 0,
      run => sub { $_[0]->message(9, "\x17\0\0\0\0") } },

    { name => 'an AVC configuration that promises 31 SPS', closed => 1,
      run => sub { $_[0]->message(9, "\x17\0\0\0\0\x01\x64\0\x1f\xff\xff") } },

    { name => 'an SPS that is longer than its configuration', closed => 1,
      run => sub {
          $_[0]->message(9, "\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1\xff\xff\x67");
      } },

    { name => 'an SPS of no bytes', closed => 1,
      run => sub {
          $_[0]->message(9, "\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1\0\0\x01\0\0");
      } },

    { name => 'an SPS of noise', closed => undef, times => 40,
      run => sub {
          my $sps = "\x67" . noise(3 + rand 60);
          $_[0]->message(9, "\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1"
                         . pack('n/a*', $sps) . "\x01" . pack('n/a*', "\x68"));
      } },

    { name => 'a configuration with flipped bits', closed => undef,
      times => 40,
      run => sub {
          my $config = $flv{video_config};
          substr($config, 5 + rand(length($config) - 5), 1) = noise(1)
              for 1 .. 3;
          $_[0]->message(9, $config);
          $_[0]->message(9, $_) for @{ $flv{video} }[0 .. 9];
      } },

    { name => 'a configuration of 70,000 bytes', closed => 1,
      run => sub {
          $_[0]->chunk_size(65536);
          $_[0]->message(9, $flv{video_config} . noise(70000));
      } },

    { name => 'a NAL unit of 4 GiB', closed => 1,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, avc(nal("\x65" . noise(100), 0xffffffff)));
      } },

    { name => 'a NAL unit that ends one byte behind its frame', closed => 1,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, avc(nal("\x65" . noise(100), 102)));
      } },

    { name => 'a frame that ends within a length', closed => 1,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, avc(nal("\x65" . noise(50)), "\0\0"));
      } },

    { name => 'NAL units of no bytes', closed => undef,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, avc("\0" x 4000));
      } },

    { name => 'a frame of noise in honest NAL units', closed => 0,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, avc(nal("\x65" . noise(2000))), ts => 40 * $_)
              for 1 .. 50;
      } },

    { name => 'video tags of noise', closed => undef, times => 60,
      run => sub {
          open_video($_[0]);
          $_[0]->message(9, noise(1 + rand 200), ts => 40 * $_) for 1 .. 5;
      } },

    { name => 'enhanced video tags of noise', closed => undef, times => 60,
      run => sub {
          my @fourcc = qw(avc1 hvc1 av01 vp09 vp08 xxxx);
          $_[0]->message(9, chr(0x80 | rand 128) . $fourcc[rand @fourcc]
                         . noise(rand 100)) for 1 .. 5;
      } },

    { name => 'tracks that claim more than there is', closed => undef,
      times => 10,
      run => sub {
          $_[0]->message(9, "\x96" . chr(rand 48) . 'avc1' . "\0"
                         . "\xff\xff\xff" . noise(20));
      } },

    { name => 'ModEx after ModEx', closed => undef,
      run => sub { $_[0]->message(9, "\x97" . "\xff\xff\xff\x07" x 200) } },

    { name => 'codecs from the last century', closed => 0,
      run => sub {
          $_[0]->message(9, "\x12" . noise(50));
          $_[0]->message(8, "\xb2" . noise(50)) for 1 .. 20;
      } },

    { name => 'a thousand changes of codec parameters', closed => undef,
      run => sub {
          my ($c) = @_;
          for my $n (1 .. 1000) {
              $c->message(8, "\xaf\0" . ($n & 1 ? "\x12\x10" : "\x11\x90"));
              $c->message(8, "\xaf\x01" . noise(20), ts => 21 * $n);
          }
      } },

    # ---- audio that is not

    { name => 'an audio tag of one byte', closed => 1,
      run => sub { $_[0]->message(8, "\xaf") } },

    { name => 'an AAC configuration of one byte', closed => 1,
      run => sub { $_[0]->message(8, "\xaf\0\x12") } },

    { name => 'an AAC configuration of a reserved rate', closed => 1,
      run => sub { $_[0]->message(8, "\xaf\0\x17\x88") } },

    { name => 'AAC configurations of noise', closed => undef, times => 40,
      run => sub { $_[0]->message(8, "\xaf\0" . noise(1 + rand 30)) } },

    { name => 'AAC frames of noise', closed => 0,
      run => sub {
          open_audio($_[0]);
          $_[0]->message(8, "\xaf\x01" . noise(1 + rand 400), ts => 21 * $_)
              for 1 .. 100;
      } },

    { name => 'enhanced audio tags of noise', closed => undef, times => 60,
      run => sub {
          my @fourcc = qw(mp4a Opus fLaC ac-3 xxxx);
          $_[0]->message(8, chr(0x90 | rand 16) . $fourcc[rand @fourcc]
                         . noise(rand 100)) for 1 .. 5;
      } },

    # ---- messages that are not

    { name => 'media of no bytes', closed => 0,
      run => sub {
          my ($c) = @_;
          $c->message($_, '') for 8, 9, 8, 9;
      } },

    { name => 'messages of no bytes of every type', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->message($_, '') for 0 .. 255;
      } },

    { name => 'a frame as long as a message can be', closed => undef,
      run => sub {
          $_[0]->chunk_size(1 << 20);
          open_video($_[0]);
          $_[0]->message(9, avc(nal("\x65" . 'x' x (0xffffff - 20))));
      } },

    { name => '64 MiB that never become a message', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->chunk_size(1 << 20);
          $c->message(9, "\x17\x01" . 'x' x (1 << 20), length => 0xffffff);

          for (1 .. 63) {
              last if $c->closed(0);
              $c->raw(Livestream::RTMP::basic(3, 6) . 'x' x (1 << 20));
          }
      } },

    { name => 'metadata of noise', closed => undef, times => 20, lines => 1,
      run => sub {
          $_[0]->message(18, "\x02\0\x0d\@setDataFrame"
                         . "\x02\0\x0aonMetaData" . noise(300));
      } },

    { name => 'metadata that promises four billion members',
      closed => undef,
      run => sub {
          $_[0]->message(18, "\x02\0\x0aonMetaData\x08\xff\xff\xff\xff"
                         . "\0\x05width\0" . pack('d>', 1e300));
      } },

    (map {
        my ($what, $open) = @$_;
        { name => "metadata of $what in $what", closed => 1,
          run => sub {
              my ($c) = @_;
              $c->chunk_size(65536);
              $c->message(18, "\x02\0\x0aonMetaData" . $open x 200000);
          } },
        { name => "a command of $what in $what", closed => 1, raw => 1,
          run => sub {
              my ($c) = @_;
              $c->handshake;
              $c->chunk_size(65536);
              $c->message(20, "\x02\0\7connect\0" . "\0" x 8
                          . $open x 200000);
          } }
    } ['objects', "\x03\0\1a"], ['arrays', "\x08\0\0\0\1\0\1a"],
      ['lists', "\x0a\0\0\0\1"]),

    { name => 'numbers that are not', closed => 0,
      run => sub {
          my ($c) = @_;
          for my $n ('nan', 'inf', '-inf', 1e308, -1) {
              $c->message(18, "\x02\0\x0aonMetaData\x08\0\0\0\2"
                  . "\0\x09framerate\0" . pack('d>', $n)
                  . "\0\x05width\0" . pack('d>', $n) . "\0\0\x09");
          }
          open_video($c);
          $c->message(9, $flv{video}[0]);
      } },

    { name => 'commands that nobody knows', closed => 0,
      run => sub {
          $_[0]->command('x' x 30, undef, 'y', { z => 1 }) for 1 .. 100;
      } },

    { name => 'a thousand streams in one connection', closed => undef,
      run => sub {
          $_[0]->command('createStream', undef) for 1 .. 1000;
          $_[0]->command('deleteStream', undef, $_) for 2 .. 1000;
      } },

    { name => 'publishing twice', closed => 1, lines => 0,
      run => sub {
          $_[0]->message(20, Livestream::RTMP::amf('publish', 9, undef,
                         $s->{stream_key}, 'live'), stream => 1);
      } },

    { name => 'publish, close, publish, close', closed => undef,
      run => sub {
          my ($c) = @_;
          for (1 .. 20) {
              $c->command('closeStream', undef);
              $c->message(20, Livestream::RTMP::amf('publish', 9, undef,
                          $s->{stream_key}, 'live'), stream => 1);
              open_video($c);
              $c->message(9, $_) for @{ $flv{video} }[0 .. 3];
          }
      } },

    { name => 'playing what it publishes', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->message(20, Livestream::RTMP::amf('play', 9, undef,
                      $s->{stream_key}), stream => 1);
          open_video($c);
          $c->message(9, $_) for @{ $flv{video} };
      } },

    # ---- chunks that are not

    { name => 'a chunk stream of three bytes', closed => undef,
      run => sub { $_[0]->message(9, $flv{video_config}, csid => 65599) } },

    { name => 'messages in pieces on thirty chunk streams', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->message(9, noise(100), csid => $_, length => 5000) for 2 .. 31;
          $c->raw(Livestream::RTMP::basic(3, $_) . noise(128)) for 2 .. 31;
      } },

    { name => 'a chunk that goes on with nothing', closed => undef,
      run => sub { $_[0]->raw("\xc7" x 4000) } },

    { name => 'a message that shrinks on its way', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->message(9, noise(128), length => 1000);
          $c->message(9, noise(128), length => 10);
          $c->raw(noise(300000));
      } },

    { name => 'chunks of one byte', closed => 0,
      run => sub {
          $_[0]->chunk_size(1);
          open_video($_[0]);
          $_[0]->message(9, $flv{video}[0]);
      } },

    (map {
        my $size = $_;
        { name => "a chunk size of $size", closed => undef,
          run => sub {
              my ($c) = @_;
              $c->message(1, pack('N', $size), csid => 2);
              open_video($c);
              $c->message(9, $_) for @{ $flv{video} };
          } }
    } 0, 0x7fffffff, 0xffffffff, 10485760),

    { name => 'aggregates that lie', closed => undef, times => 20,
      run => sub {
          my ($c) = @_;
          $c->message(22, "\x09" . substr(pack('N', rand 2 ** 24), 1)
                      . "\0" x 7 . noise(rand 100));
          $c->message(22, noise(1 + rand 40));
      } },

    { name => 'aggregates in aggregates', closed => 1, raw => 1,
      run => sub {
          my ($c) = @_;
          my $n = 60000;
          $c->handshake;
          $c->chunk_size(65536);
          $c->message(22, join('', map {
              "\x16" . substr(pack('N', 15 * ($n - $_)), 1) . "\0" x 7
          } 1 .. $n) . "\0" x (4 * $n));
      } },

    { name => 'control messages that are cut short', closed => undef,
      run => sub {
          my ($c) = @_;
          $c->message($_, noise($_ % 4), csid => 2) for (1 .. 6) x 4;
      } },

    # ---- clocks that are not

    { name => 'timestamps of noise', closed => 0,
      run => sub {
          my ($c) = @_;
          open_video($c);
          open_audio($c);
          for (1 .. 300) {
              $c->message(9, $flv{video}[rand 10], ts => rand 2 ** 32);
              $c->message(8, $flv{audio}[0], ts => rand 2 ** 32);
          }
      } },

    { name => 'one timestamp for a thousand frames', closed => 0,
      run => sub {
          my ($c) = @_;
          open_video($c);
          $c->message(9, $flv{video}[$_ % 30], ts => 5) for 1 .. 1000;
      } },

    { name => 'composition times of two hours', closed => 0,
      run => sub {
          my ($c) = @_;
          open_video($c);
          for (1 .. 60) {
              my $tag = $flv{video}[$_ % 30];
              substr($tag, 2, 3) = substr(pack('N', 0x7fffff), 1);
              $c->message(9, $tag, ts => 33 * $_);
          }
      } },
);

for my $a (@attacks) {
    subtest $a->{name} => sub { attack($a) };
    last if join(' ', $t->workers) ne "@workers";
}

is(join(' ', $t->workers), "@workers", 'the workers are those of the start');
is($t->log =~ /exited on signal/ ? 1 : 0, 0, 'and none has crashed');

$viewers->stop;
my $seen = $viewers->result;

for my $track (@{ $seen->{tracks} }) {
    ok($track->{parts}, "$track->{url}: the viewers got parts");
    is($track->{missed} + $track->{errors} + $track->{odd}, 0,
       'every one, and whole');
    cmp_ok($track->{gap_max}, '<', 1500, 'in time');
}

my $c = published();
ok($c, 'the stream that was attacked can be published');
$c->close;

# nginx-rtmp's own word for a chunk size beyond its limit
$t->allow(qr/too big RTMP chunk size/);

$t->stop;
done_testing();


sub attack {
    my ($a) = @_;

    for (1 .. $a->{times} // 1) {
        my $c = $a->{raw} ? Livestream::RTMP->new($t) : published();
        ok($c, 'is accepted') or last;

        my $before = length $t->log;
        $a->{run}->($c);

        my $closed = $c->closed(defined $a->{closed} && $a->{closed} ? 5
                                : 0.05);

        is($closed ? 1 : 0, $a->{closed}, $a->{closed}
           ? 'the session is closed' : 'the session goes on')
            if defined $a->{closed};

        $c->close;

        my $lines = $a->{lines} // 1;
        my @said = grep { !/$other->{id}/ && /\[(?:error|crit|warn)\]/ }
                   split /^/, substr $t->log, $before;

        @said = grep { !/is left out/ } @said;

        cmp_ok(scalar @said, '<=', $lines, 'and the log says so once')
            or diag(@said);

        last unless is(join(' ', $t->workers), "@workers",
                       'the workers live');
    }
}


# A publisher of the stream; the one before may still be read to its end.
sub published {
    return wait_for {
        my $c = Livestream::RTMP->new($t);
        ($c->publish($s->{stream_key}) // '') eq 'NetStream.Publish.Start'
            and $c;
    };
}


# The tags of a clip, as an encoder sends them.
sub flv {
    my ($clip) = @_;

    open my $fh, '-|', 'ffmpeg', '-v', 'error', '-i', $clip, '-c', 'copy',
        '-f', 'flv', '-' or die "ffmpeg: $!\n";
    binmode $fh;
    local $/;
    my $flv = <$fh>;
    close $fh or die "ffmpeg can't make FLV\n";

    my %tags = (video => [], audio => []);

    for (my $at = 13; $at + 11 < length $flv; ) {
        my ($type, $size) = unpack 'C a3', substr $flv, $at, 4;
        $size = unpack 'N', "\0$size";
        my $body = substr $flv, $at + 11, $size;
        $at += 11 + $size + 4;

        my $kind = $type == 9 ? 'video' : $type == 8 ? 'audio' : next;

        if (ord(substr $body, 1, 1) == 0) {
            $tags{"${kind}_config"} //= $body;
        } elsif (length $body > 5) {
            push @{ $tags{$kind} }, $body;
        }
    }

    return %tags;
}
