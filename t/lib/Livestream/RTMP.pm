package Livestream::RTMP;

# Copyright (C) nginx-livestream contributors
#
# An RTMP client that can say anything, for tests of what a server does with
# publishers that are broken or hostile.
#
#     my $c = Livestream::RTMP->new($t);
#     is($c->publish($s->{stream_key}), 'NetStream.Publish.Start');
#     $c->message(9, "\x17\x00\x00\x00\x00" . $junk, ts => 0);
#     ok($c->closed(5), 'the server closes the connection');
#
# Steps that publish() makes, each callable alone: handshake, connect,
# create_stream. What is written to a closed connection is lost silently, so
# that a test can send on and look at closed() afterwards.
#
#     raw($bytes)                 as they are
#     message($type, $body, ts, csid, stream, length, fmt)
#                                 in chunks; length lies about the body's
#     chunk_size($n)              tells the server and uses it from now on
#     command($name, @values)     AMF0: numbers, strings, undef, hashes
#     receive($seconds)           the next message: { type, body }, or undef
#     status($seconds)            the code of the next onStatus, or undef
#     closed($seconds)            did the server close?

use v5.28;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use constant HANDSHAKE => 1536;


sub new {
    my ($class, $t) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$t->{rtmp}",
                                       Timeout => 5)
        or die "RTMP: $!\n";

    $socket->autoflush(1);
    $socket->blocking(0);

    return bless { socket => $socket, in => '', out_chunk => 128,
                   in_chunk => 128, streams => {}, eof => 0,
                   transaction => 0 }, $class;
}


# ---- bytes

sub raw {
    my ($c, $bytes) = @_;

    my $end = time() + 10;
    my $select = IO::Select->new($c->{socket});

    while (length $bytes && time() < $end) {
        next unless $select->can_write(0.1);

        my $n = syswrite $c->{socket}, $bytes;

        # the server has gone: that is for closed() to tell
        return $c unless defined $n || $!{EAGAIN};

        substr $bytes, 0, $n // 0, '';
    }

    return $c;
}


# More bytes from the server within the time; false at the end of the stream.
sub fill {
    my ($c, $seconds) = @_;

    return 0 if $c->{eof};
    return 0 unless IO::Select->new($c->{socket})->can_read($seconds);

    my $n = sysread $c->{socket}, $c->{in}, 65536, length $c->{in};

    return 1 if $n || (!defined $n && $!{EAGAIN});

    $c->{eof} = 1;
    return 0;
}


sub need {
    my ($c, $bytes, $seconds) = @_;

    my $end = time() + ($seconds // 10);

    while (length $c->{in} < $bytes) {
        my $left = $end - time();
        return 0 if $left <= 0 || $c->{eof};
        $c->fill($left);
    }

    return 1;
}


sub closed {
    my ($c, $seconds) = @_;

    my $end = time() + ($seconds // 5);

    $c->fill($end - time()) while !$c->{eof} && time() < $end;

    return $c->{eof};
}


sub close { close $_[0]{socket} }


# ---- handshake and commands

sub handshake {
    my ($c) = @_;

    $c->raw("\x03" . "\0" x HANDSHAKE);
    $c->need(1 + 2 * HANDSHAKE) or return 0;

    my $answer = substr $c->{in}, 0, 1 + 2 * HANDSHAKE, '';
    $c->raw(substr $answer, 1, HANDSHAKE);

    return 1;
}


sub connect {
    my ($c, $app) = @_;

    $c->handshake or return 0;
    $app //= 'live';
    $c->command('connect', { app => $app, tcUrl => "rtmp://127.0.0.1/$app" });

    return $c->result;
}


sub create_stream {
    my ($c) = @_;

    $c->command('createStream', undef);
    return $c->result;
}


# The code of the server's answer; undef if it closed without one.
sub publish {
    my ($c, $key, $app) = @_;

    $c->connect($app) or return undef;
    $c->create_stream or return undef;
    $c->message(20, amf('publish', ++$c->{transaction}, undef, $key, 'live'),
                csid => 8, stream => 1);

    return $c->status;
}


sub command {
    my ($c, $name, @values) = @_;

    $c->message(20, amf($name, ++$c->{transaction}, @values));
    return $c;
}


# Waits for the _result of a command.
sub result {
    my ($c, $seconds) = @_;

    while (my $m = $c->receive($seconds // 10)) {
        return 1 if $m->{type} == 20 && $m->{body} =~ /^\x02\0\x07_result/;
        return 0 if $m->{type} == 20 && $m->{body} =~ /^\x02\0\x06_error/;
    }

    return 0;
}


sub status {
    my ($c, $seconds) = @_;

    while (my $m = $c->receive($seconds // 10)) {
        next unless $m->{type} == 20 && $m->{body} =~ /^\x02\0\x08onStatus/;
        return $m->{body} =~ /\0\x04code\x02..([\w.]+)/s ? $1 : undef;
    }

    return undef;
}


# ---- messages

sub message {
    my ($c, $type, $body, %o) = @_;

    my $csid = $o{csid} // ($type == 9 ? 6 : $type == 8 ? 4 : 3);
    my $stream = $o{stream} // ($type == 8 || $type == 9 || $type == 18);
    my $ts = ($o{ts} // 0) & 0xffffffff;
    my $extended = $ts >= 0xffffff ? pack('N', $ts) : '';

    my $header = basic($o{fmt} // 0, $csid)
        . substr(pack('N', $extended ? 0xffffff : $ts), 1)
        . substr(pack('N', $o{length} // length $body), 1)
        . chr($type) . pack('V', $stream);

    my $bytes = $header . $extended . substr($body, 0, $c->{out_chunk});

    for (my $at = $c->{out_chunk}; $at < length $body; $at += $c->{out_chunk})
    {
        $bytes .= basic(3, $csid) . $extended
            . substr($body, $at, $c->{out_chunk});
    }

    return $c->raw($bytes);
}


# The basic header of a chunk, in the shortest form that holds its id.
sub basic {
    my ($fmt, $csid) = @_;

    return $csid < 64 ? chr($fmt << 6 | $csid)
        : $csid < 320 ? chr($fmt << 6) . chr($csid - 64)
        : chr($fmt << 6 | 1) . pack('v', $csid - 64);
}


sub chunk_size {
    my ($c, $size) = @_;

    $c->message(1, pack('N', $size), csid => 2);
    $c->{out_chunk} = $size;

    return $c;
}


sub receive {
    my ($c, $seconds) = @_;

    my $end = time() + $seconds;

    for ( ;; ) {
        my $left = $end - time();
        return undef if $left <= 0;

        $c->need(1, $left) or return undef;

        my $fmt = ord($c->{in}) >> 6;
        my $s = $c->{streams}{ ord($c->{in}) & 63 } //= { body => '' };
        my $size = 1 + (11, 7, 3, 0)[$fmt];

        $c->need($size, $left) or return undef;

        ($s->{length}, $s->{type}) = unpack 'x4 a3 C', $c->{in} if $fmt < 2;
        $s->{length} = unpack 'N', "\0$s->{length}" if $fmt < 2;

        my $part = $s->{length} - length $s->{body};
        $part = $c->{in_chunk} if $part > $c->{in_chunk};

        $c->need($size + $part, $left) or return undef;

        substr $c->{in}, 0, $size, '';
        $s->{body} .= substr $c->{in}, 0, $part, '';

        next if length $s->{body} < $s->{length};

        my $m = { type => $s->{type}, body => $s->{body} };
        $s->{body} = '';

        $c->{in_chunk} = unpack 'N', $m->{body} if $m->{type} == 1;

        return $m;
    }
}


# ---- AMF0

sub amf { join '', map { amf_value($_) } @_ }


sub amf_value {
    my ($v) = @_;

    return "\x05" unless defined $v;

    if (ref $v eq 'HASH') {
        return "\x03" . join('', map {
            pack('n/a*', $_) . amf_value($v->{$_})
        } sort keys %$v) . "\0\0\x09";
    }

    return "\0" . pack('d>', $v) if $v =~ /^-?[\d.]+$/;
    return "\x02" . pack('n/a*', $v);
}


1;
