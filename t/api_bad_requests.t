# What the REST API does with requests that are wrong: each gets a problem that
# says what is wrong, nothing is stored, and nothing else is disturbed.

use Livestream::Test;

use JSON::PP;

my $t = Livestream::Test->new;
$t->start;

(undef, my $s) = $t->api(POST => '/livestreams',
                         { title => 'There', user_id => 'u',
                           settings => { segment_duration => 2 } });
my $path = "/livestreams/$s->{id}";
my $other = '01234567-89ab-cdef-0123-456789abcdef';

# A problem of RFC 9457 with that status and, where it is given, field.
sub problem {
    my ($name, $status, $field, $method, $path, $body, %header) = @_;

    $header{'Content-Type'} //= 'application/json' if defined $body;
    delete $header{'Content-Type'}
        if ($header{'Content-Type'} // '') eq 'none';

    my $r = $t->request($method, "/api/v1$path", headers => \%header,
                        body => ref $body ? encode_json($body) : $body);
    my $p = eval { decode_json($r->{body}) } // {};

    my @got = ($r->{status}, $r->{headers}{'content-type'}, $p->{status},
               $p->{field});
    my @want = ($status, 'application/problem+json', $status, $field);

    is_deeply(\@got, \@want, $name) or diag($r->{head}, $r->{body});

    ok($p->{type} && $p->{title} && $p->{detail}, "$name: says why");
    unlike($r->{body}, qr/SELECT|UPDATE|INSERT|live_streams|sqlite/,
           "$name: says nothing of the inside");

    return wantarray ? ($p, $r) : $p;
}

sub bad_body { problem($_[0], 400, $_[1], POST => '/livestreams', $_[2]) }
sub bad_patch { problem($_[0], 400, $_[1], PATCH => $path, $_[2]) }

sub with { return { title => 'x', user_id => 'y', @_ } }


# ---- ids and paths

problem("GET $_", 404, undef, GET => $_)
    for '/', '/nothing', '/livestreams/', '/livestream', '/livestreamsx',
        "$path/", "$path/recording", "$path/start/x", "/livestreams/$other",
        "$path/recordings/", "/livestreams//recordings",
        '/livestreams/x', '/livestreams/' . 'a' x 36,
        '/livestreams/' . 'a' x 4000, "/livestreams/$s->{id}x",
        '/livestreams/' . substr($s->{id}, 1),
        "/livestreams/..%2f$s->{id}", '/livestreams/%27%20OR%201=1--',
        "/livestreams/{id}";

for (['PATCH', ''], ['DELETE', ''], ['POST', '/start'], ['POST', '/stop'],
     ['POST', '/key']) {
    my $body = $_->[0] eq 'PATCH' ? { title => 'x' } : undef;

    problem("$_->[0] of an unknown id", 404, undef, $_->[0],
            "/livestreams/$other$_->[1]", $body);
    problem("$_->[0] of a bad id", 404, undef, $_->[0],
            "/livestreams/not-a-uuid$_->[1]", $body);
}


# ---- methods

for (['/livestreams', 'GET, HEAD, POST, OPTIONS', qw(PUT PATCH DELETE)],
     [$path, 'GET, HEAD, PATCH, DELETE, OPTIONS', qw(PUT POST)],
     ["$path/start", 'POST, OPTIONS', qw(GET PUT PATCH DELETE)],
     ["$path/stop", 'POST, OPTIONS', qw(GET PUT PATCH DELETE)],
     ["$path/key", 'POST, OPTIONS', qw(GET PUT PATCH DELETE)]) {
    my ($where, $allow, @methods) = @$_;

    for my $method (@methods) {
        my (undef, $r) = problem("$method $where", 405, undef, $method,
                                 $where);
        is($r->{headers}{allow}, $allow, 'with Allow');
    }
}

is($t->request(HEAD => "/api/v1$path/start")->{status}, 405,
   'HEAD is no other method than GET');
problem('a body where there is no such method', 405, undef, PUT => $path,
        'x' x 5000);


# ---- content types

problem("Content-Type $_", 415, undef, POST => '/livestreams', with(),
        'Content-Type' => $_)
    for 'none', 'text/plain', 'application/x-www-form-urlencoded', 'json',
        'application/jsonx', 'application/json; charset=utf-16',
        'application/json;charset="iso-8859-1"', 'application', ';',
        'application/vnd.api+json', 'text/json, application/json';

is(($t->api(POST => '/livestreams', with()))[0], 201, 'application/json');

for ('application/json;charset=utf-8', 'APPLICATION/JSON ; charset=UTF-8',
     'application/json; indent=2') {
    my $r = $t->request(POST => '/api/v1/livestreams',
                        headers => { 'Content-Type' => $_ },
                        body => encode_json(with()));
    is($r->{status}, 201, $_);
}


# ---- JSON

bad_body("a body that is $_->[0]", undef, $_->[1])
    for ['empty', ''], ['an array', '[]'], ['a text', '"x"'],
        ['a number', '1'], ['null', 'null'], ['truncated', '{"title":"x"'],
        ['two objects', '{}{}'], ['followed by garbage', '{} x'],
        ['in single quotes', "{'title':'x'}"],
        ['with a comment', '{/* */}'], ['with a trailing comma', '{"a":1,}'],
        ['white space', "  \n"], ['NUL', "\0"], ['a lone brace', '}'],
        ['invalid UTF-8', qq({"title":"\xff","user_id":"u"})],
        ['overlong UTF-8', qq({"title":"\xc0\xaf","user_id":"u"})],
        ['a surrogate in UTF-8', qq({"title":"\xed\xa0\x80","user_id":"u"})],
        ['a lone surrogate', '{"title":"\ud800","user_id":"u"}'],
        ['a NUL in a text', '{"title":"a\u0000b","user_id":"u"}'],
        ['a NUL in a name', '{"a\u0000b":1}'],
        ['a raw control character', qq({"title":"a\nb","user_id":"u"})],
        ['a member twice', '{"title":"a","title":"b","user_id":"u"}'],
        ['a member twice in depth',
         '{"title":"a","user_id":"u","metadata":{"x":{"y":1,"y":2}}}'],
        ['too deep', '{"metadata":' . '[' x 30000 . ']' x 30000 . '}'],
        ['a huge integer', '{"dvr_window":99999999999999999999}'],
        ['a huge number', '{"dvr_window":1e999}'],
        ['a BOM', "\xef\xbb\xbf{}"], ['NaN', '{"dvr_window":NaN}'],
        ['cut in a character at the end of a message',
         '{"title":' . "\xf0\x9f\x98\x80" x 60 . '}'];

problem('no body at all', 400, undef, 'POST', '/livestreams');
problem('no body to patch with', 400, undef, 'PATCH', $path);


# ---- fields

bad_body('no title', 'title', { user_id => 'u' });
bad_body('no user_id', 'user_id', { title => 'x' });
bad_body("title $_->[0]", 'title', with(title => $_->[1]))
    for ['null', undef], ['number', 1], ['true', JSON_TRUE], ['array', []],
        ['object', {}], ['empty', ''], ['256 characters', 'x' x 256],
        ['256 letters of two bytes', "\x{e9}" x 256], ['line feed', "a\nb"],
        ['DEL', "a\x7f"], ['escape', "\e[31m"];
bad_body("user_id $_->[0]", 'user_id', with(user_id => $_->[1]))
    for ['null', undef], ['number', 7], ['empty', ''],
        ['101 characters', 'x' x 101], ['tab', "a\tb"];
bad_body("description $_->[0]", 'description', with(description => $_->[1]))
    for ['number', 1], ['object', {}], ['10001 characters', 'x' x 10001];
bad_body("dvr_enabled $_->[0]", 'dvr_enabled', with(dvr_enabled => $_->[1]))
    for ['null', undef], ['number', 1], ['text', 'true'];
bad_body("dvr_window $_->[0]", 'dvr_window', with(dvr_window => $_->[1]))
    for ['null', undef], ['text', '7200'], ['zero', 0], ['negative', -1],
        ['fraction', 1.5], ['too long', 604801],
        ['beyond 32 bits', 4294967297], ['true', JSON_TRUE];
bad_body('dvr_window 60.0', 'dvr_window',
         '{"title":"x","user_id":"y","dvr_window":60.0}');
bad_body("low_latency $_->[0]", 'low_latency', with(low_latency => $_->[1]))
    for ['null', undef], ['number', 0], ['text', 'off'];
bad_body("metadata $_->[0]", 'metadata', with(metadata => $_->[1]))
    for ['null', undef], ['array', []], ['text', '{}'],
        ['16 KiB and more', { x => 'y' x 16384 }];
bad_body("settings $_->[0]", 'settings', with(settings => $_->[1]))
    for ['null', undef], ['array', []], ['text', '{}'], ['number', 1],
        ['4 KiB and more', { map { ("x$_" => 1) } 1 .. 600 }];

bad_body('a field that there is not', 'colour', with(colour => 'red'));
bad_body('a field with an empty name', '', with('' => 1));
bad_body('a field in upper case', 'Title', { Title => 'x', title => 'x',
                                             user_id => 'y' });

for my $column (qw(id stream_key rtmp_ingest_url status master_playlist
                   viewer_count peak_viewer_count started_at ended_at
                   created_at updated_at)) {
    bad_body("$column is the server's", $column, with($column => 'x'));
    bad_patch("$column cannot be patched", $column, { $column => 'x' });
}

bad_patch('user_id cannot be patched', 'user_id', { user_id => 'thief' });
bad_patch('title null', 'title', { title => undef });
bad_patch('metadata text', 'metadata', { metadata => 'x' });
bad_patch('a setting of a wrong type', 'settings.codec',
          { settings => { codec => 264 } });
bad_patch('settings that do not go with the stored ones',
          'settings.part_duration', { settings => { part_duration => 3 } });
bad_patch('metadata that grows too long', 'metadata',
          { metadata => { more => 'x' x 16384 } });


# ---- settings

my %wrong = (
    enable_transcoding => [1, 'true', undef, []],
    gpu_acceleration   => ['auto', 0],
    resolutions        => ['720p', [], [''], [1], ['720p', '720p'],
                           ['7 20'], ['../x'], ['SOURCE'], ['x' x 16],
                           [map { "r$_" } 1 .. 13], {}],
    codec              => [1, ['h264'], undef],
    audio_codec        => [1, JSON_TRUE],
    segment_duration   => [0, 0.5, 61, -1, '6s', undef],
    part_duration      => [0, 0.01, 6, '500ms'],
    keyframe_interval  => [0, 21, '2'],
    playlist_length    => [2, 101, 2.5, '10'],
    audio_bitrate      => [0, 7, 513, 128.5, '128k'],
    colour             => ['red'],
);

for my $name (sort keys %wrong) {
    bad_body("settings.$name " . JSON::PP->new->allow_nonref->encode($_),
             "settings.$name", with(settings => { $name => $_ }))
        for @{ $wrong{$name} };
}

bad_body('a part longer than its segment', 'settings.part_duration',
         with(settings => { segment_duration => 1, part_duration => 2 }));

# well formed, but for something that there is not
sub cannot {
    my ($field, %settings) = @_;

    problem("settings that cannot be met: " . encode_json(\%settings), 422,
            "settings.$field", POST => '/livestreams',
            with(settings => \%settings));
}

cannot(codec => codec => $_) for 'av1', 'H264', 'hevc', '';
cannot(audio_codec => audio_codec => $_) for 'mp3', '';
cannot(keyframe_interval => keyframe_interval => 2.1, segment_duration => 2);
cannot(keyframe_interval => keyframe_interval => 6.1);

problem('a patch that cannot be met', 422, 'settings.keyframe_interval',
        PATCH => $path, { settings => { keyframe_interval => 2.5 } });
bad_body('a malformed field beside one that cannot be met', 'settings.codec',
         '{"settings":{"codec":"av1"},"title":"","user_id":"u"}');


# ---- several errors at once

my $p = bad_body('several errors', 'a', '{"a":1,"title":"","dvr_window":"x"}');
is_deeply([map { $_->{field} } @{ $p->{errors} }],
          [qw(a title dvr_window user_id)], 'are all told');

$p = bad_body('errors without end', 'f0',
              '{' . join(',', map { qq("f$_":1) } 0 .. 5000) . '}');
is(@{ $p->{errors} }, 16, 'are told in part');


# ---- queries

problem("?$_->[0]", 400, $_->[1], GET => "/livestreams?$_->[0]")
    for ['limit=0', 'limit'], ['limit=101', 'limit'], ['limit=-1', 'limit'],
        ['limit=', 'limit'], ['limit', 'limit'], ['limit=1e1', 'limit'],
        ['limit=%31%30x', 'limit'], ['limit=99999999999999999999', 'limit'],
        ['offset=-1', 'offset'], ['offset=x', 'offset'],
        ['offset=2147483648', 'offset'], ['status=on', 'status'],
        ['status=', 'status'], ['status=LIVE', 'status'],
        ['status=live%00', 'status'], ['user_id=', 'user_id'],
        ['user_id=%00', 'user_id'], ['user_id=%0a', 'user_id'],
        ['user_id=%ff', 'user_id'], ['user_id=%ed%a0%80', 'user_id'],
        ['user_id=' . 'x' x 101, 'user_id'], ['page=2', 'query'],
        ['Limit=5', 'query'], ['=', 'query'], ['%6cimit=5', 'query'];


# ---- whatever is in a text, it is only a text

my @texts = ("'; DROP TABLE live_streams; --", "' OR '1'='1", '$1', '?1',
             '%s%n%p%x', '"', '\\', "\\'", '${jndi:x}', '<script>', '{{1}}',
             "\x{202e}", "\x{0301}" x 200);

for (@texts) {
    my ($status, $x) = $t->api(POST => '/livestreams',
                               with(title => $_, user_id => substr $_, 0, 99));
    is($status, 201, 'stored');

    my $text = $_;
    utf8::encode($text);
    my $escaped = $text =~ s/(.)/sprintf '%%%02x', ord $1/gesr;

    (undef, my $list) = $t->api(GET => '/livestreams?user_id='
                                       . substr($escaped, 0, 99 * 3));
    ok((grep { $_->{id} eq $x->{id} && $_->{title} eq $x->{title} }
        @{ $list->{streams} }), 'and found') if length $text < 100;
}


# ---- nothing came of all that

(undef, my $now) = $t->api(GET => $path);
delete @$s{qw(stream_key rtmp_ingest_url)};
delete $now->{rtmp_ingest_url};
is_deeply($now, $s, 'the stream that was there is as it was');
is_deeply([$t->sql('SELECT count(*) AS n FROM live_streams')],
          [{ n => 1 + 4 + @texts }], 'and no other was made');

$t->stop;
done_testing();
