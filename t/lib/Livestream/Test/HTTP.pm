package Livestream::Test::HTTP;

# Copyright (C) nginx-livestream contributors
#
# An HTTP/1.1 connection.  A request can be sent now and its answer awaited
# later, so that a test may hold many blocking requests at once:
#
#     my $c = $t->client(timeout => 5);
#     $c->send(GET => $path, headers => { Range => 'bytes=0-9' });
#     ok(!$c->readable(0.3), 'held back');
#     my $r = $c->recv;
#
# request() does both.  raw($bytes) sends anything.  The connection is kept
# alive; closed() tells whether the server has closed it.
#
# A response: {status} {reason} {headers}{lower-case name} {head} {body} as
# sent, content() without its Content-Encoding, {sent} {first} {done} wall
# clock of the request's end, the response's first and last byte.
#
# No answer in time (default 15 s) gives status 0 and {error}.

use v5.28;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use Time::HiRes qw(time);


sub new {
    my ($class, %option) = @_;

    my $address = "127.0.0.1:$option{port}";
    my $timeout = $option{timeout} // Livestream::Test::slow(15);
    my $socket;

    if ($option{tls}) {
        require IO::Socket::SSL;
        $socket = IO::Socket::SSL->new(PeerAddr => $address,
            SSL_hostname => 'localhost', Timeout => $timeout,
            SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE());

    } else {
        $socket = IO::Socket::INET->new(PeerAddr => $address,
                                        Timeout => $timeout);
    }

    return bless { socket => $socket, timeout => $timeout, in => '',
                   error => $socket ? undef : "connect: $!",
                   methods => [] }, $class;
}


sub send {
    my ($c, $method, $path, %option) = @_;

    my %header = (Host => 'localhost', %{ $option{headers} // {} });

    $header{'Content-Length'} //= length $option{body}
        if defined $option{body};

    push @{ $c->{methods} }, $method;

    return $c->raw(join("\r\n", "$method $path HTTP/1.1",
                        map({ "$_: $header{$_}" } sort keys %header), '', '')
                   . ($option{body} // ''));
}


sub raw {
    my ($c, $bytes) = @_;

    my $offset = 0;

    while ($c->{socket} && $offset < length $bytes) {
        my $n = $c->{socket}->syswrite($bytes, length $bytes, $offset);
        $n or $c->{error} //= "send: $!";
        $n or last;
        $offset += $n;
    }

    $c->{sent} = time();
    return $c;
}


sub request {
    my ($c, $method, $path, %option) = @_;

    return $c->send($method, $path, %option)->recv;
}


# Is there something to read, or the end, within $seconds?
sub readable {
    my ($c, $seconds) = @_;

    my $socket = $c->{socket} or return 1;

    return 1 if length $c->{in};
    return 1 if $socket->can('pending') && $socket->pending;
    return IO::Select->new($socket)->can_read($seconds // 0) ? 1 : 0;
}


sub closed {
    my ($c, $seconds) = @_;

    return 0 unless $c->readable($seconds // 0);
    return 0 if length $c->{in};
    return !$c->fill(time() + 1);
}


sub close {
    my ($c) = @_;

    CORE::close(delete $c->{socket}) if $c->{socket};
}


# Reads something more; false at the end, on an error or at the deadline.
sub fill {
    my ($c, $deadline) = @_;

    my $socket = $c->{socket} or return 0;
    my $left = $deadline - time();

    unless ($socket->can('pending') && $socket->pending) {
        unless (IO::Select->new($socket)->can_read($left > 0 ? $left : 0)) {
            $c->{error} = 'timed out';
            return 0;
        }
    }

    my $n = $socket->sysread($c->{in}, 65536, length $c->{in});
    $n or $c->{error} = defined $n ? 'closed' : "read: $!";

    return $n;
}


sub recv {
    my ($c, $timeout) = @_;

    my $r = bless { status => 0, reason => '', headers => {}, head => '',
                    body => '', sent => $c->{sent} },
                  'Livestream::Test::HTTP::Response';
    my $method = shift @{ $c->{methods} } // 'GET';
    my $deadline = time() + ($timeout // $c->{timeout});

    do {
        $c->head($r, $deadline) or return $c->failed($r);
    } while $r->{status} =~ /^1/;

    my $length = $r->{headers}{'content-length'};
    my $bodiless = $method eq 'HEAD' || $r->{status} =~ /^(?:204|304)$/;
    my $ok = 1;

    if ($bodiless) {
        # nothing follows

    } elsif (($r->{headers}{'transfer-encoding'} // '') =~ /chunked/) {
        $ok = $c->chunks($r, $deadline);

    } elsif (defined $length) {
        $ok = $c->bytes($length, $deadline);
        $r->{body} = substr $c->{in}, 0, $length, '' if $ok;

    } else {
        1 while $c->fill($deadline);
        $ok = $c->{error} eq 'closed';
        ($r->{body}, $c->{in}) = ($c->{in}, '');
    }

    return $c->failed($r) unless $ok;

    $r->{done} = time();
    return $r;
}


sub failed {
    my ($c, $r) = @_;

    $r->{partial} = $r->{status};
    $r->{status} = 0;
    $r->{error} = $c->{error};
    $r->{done} = time();

    return $r;
}


sub bytes {
    my ($c, $n, $deadline) = @_;

    while (length $c->{in} < $n) {
        $c->fill($deadline) or return 0;
    }

    return 1;
}


sub head {
    my ($c, $r, $deadline) = @_;

    while ($c->{in} !~ /\r\n\r\n/) {
        $c->fill($deadline) or return 0;
        $r->{first} //= time();
    }

    $r->{first} //= time();
    $c->{in} =~ s/^(.*?\r\n)\r\n//s;
    $r->{head} = $1;

    my ($line, @fields) = split /\r\n/, $r->{head};

    ($r->{status}, $r->{reason}) = $line =~ m{^HTTP/1\.[01] (\d{3}) ?(.*)}
        or return 0;
    $r->{headers} = {};

    for (@fields) {
        my ($name, $value) = /^([^:]+):\s*(.*?)\s*$/ or return 0;
        my $old = $r->{headers}{lc $name};
        $r->{headers}{lc $name} = defined $old ? "$old, $value" : $value;
    }

    return 1;
}


sub chunks {
    my ($c, $r, $deadline) = @_;

    for ( ;; ) {
        while ($c->{in} !~ /^([0-9a-fA-F]+)[^\r\n]*\r\n/) {
            $c->fill($deadline) or return 0;
        }

        my ($size, $skip) = (hex $1, $+[0]);

        $c->bytes($skip + $size + 2, $deadline) or return 0;
        $r->{body} .= substr $c->{in}, $skip, $size;
        substr($c->{in}, 0, $skip + $size + 2) = '';

        return 1 if $size == 0;
    }
}


package Livestream::Test::HTTP::Response;


sub content {
    my ($r) = @_;

    return $r->{body}
        unless ($r->{headers}{'content-encoding'} // '') eq 'gzip';

    my $in = $r->{body};
    IO::Uncompress::Gunzip::gunzip(\$in => \my $out)
        or die "gunzip: $IO::Uncompress::Gunzip::GunzipError\n";

    return $out;
}


sub header { $_[0]{headers}{lc $_[1]} }


1;
