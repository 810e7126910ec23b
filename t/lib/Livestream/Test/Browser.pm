package Livestream::Test::Browser;

# Copyright (C) nginx-livestream contributors
#
# Chromium with hls.js, driven from a test.
#
#     my $b = Livestream::Test::Browser->start($t);
#
#     $b->play($t->url($s, 'master.m3u8'));   the player's page, which is of
#                                             another origin than the stream
#     $b->started or diag($b->why);           does it play?
#     $b->mark;                               begin a new record
#     my $r = $b->report;                     what a viewer noticed since:
#                                             see bench/glass/player.mjs
#
#     $b->open($url)                          any page
#     $b->eval($js), $b->wait($js, $seconds)  values of JavaScript expressions
#     $b->throttle($bytes)                    a second at most; 0: no limit
#     $b->click($css), $b->fill($css, $text), $b->press($key)
#     $b->choose($css, $option)               by its value or text
#     $b->hover($css, $part, 'click')         the pointer at a part of its
#                                             width; then a click, if wanted
#     $b->messages                            errors on the page's console
#     $b->screenshot($path)
#     $b->stop
#
# And a publisher whose picture carries the wall clock, so that report->{ages}
# is the latency from glass to glass:
#
#     my $pid = Livestream::Test::Browser::publish_clock($t, $s, gop => 2);
#
# Driver and page are t/browser/driver.mjs and bench/glass/.

use v5.28;
use warnings;

use File::Basename qw(dirname);
use IO::Socket::UNIX;
use JSON::PP;
use Livestream::Test ();

my $checkout = dirname(__FILE__) . '/../../../..';


sub start {
    my ($class, $t) = @_;

    my $path = "$t->{dir}/browser.sock";
    my $pid = $t->spawn('browser', 'node', "$checkout/t/browser/driver.mjs",
                        $path);

    my $socket = Livestream::Test::wait_for {
        return -1 if defined Livestream::Test::reap($pid);
        IO::Socket::UNIX->new(Peer => $path);
    } 60;

    ref $socket
        or die "no browser: "
               . Livestream::Test::read_file("$t->{dir}/browser.log") . "\n";

    return bless { t => $t, pid => $pid, socket => $socket,
                   json => JSON::PP->new->utf8->allow_nonref }, $class;
}


sub call {
    my ($b, @request) = @_;

    $b->{socket}->print($b->{json}->encode(\@request), "\n");

    my $line = $b->{socket}->getline // die "the browser is gone\n";
    my $answer = $b->{json}->decode($line);

    die "$request[0]: $answer->{error}\n" if exists $answer->{error};
    return $answer->{ok};
}


for my $name (qw(open play eval throttle click fill choose press hover
                 screenshot messages))
{
    no strict 'refs';
    *$name = sub { my $b = shift; $b->call($name, @_) };
}


sub wait {
    my ($b, $js, $seconds) = @_;

    return $b->call('wait', $js,
                    Livestream::Test::slow($seconds // 10));
}


# the player's page

sub started {
    my ($b, $seconds) = @_;

    return $b->wait('player.report().started', $seconds // 20);
}


sub mark { $_[0]->eval('player.mark()') }

sub report { $_[0]->eval('player.report()') }


# what to tell when something is not as it should be
sub why {
    my ($b) = @_;

    my $report = eval { $b->report } // {};

    return JSON::PP->new->pretty->canonical->encode(
        { report => $report, messages => $b->messages });
}


sub stop {
    my ($b) = @_;

    return if $b->{stopped}++;

    close $b->{socket};
    defined Livestream::Test::reap($b->{pid}, 20)
        or kill KILL => $b->{pid};
}


sub publish_clock {
    my ($t, $stream, %option) = @_;

    return $t->spawn('clock', 'node', "$checkout/bench/glass/publish.mjs",
        map({ ("--$_", $option{$_}) } sort keys %option),
        "rtmp://127.0.0.1:$t->{rtmp}/live/$stream->{stream_key}");
}


1;
