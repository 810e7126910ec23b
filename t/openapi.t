# The API's description, conf/openapi.yaml, says other things than the code
# does: its routes, fields, settings and statuses are held against the tables
# in the source, and its answers against a real one.

use Livestream::Test;

use CPAN::Meta::YAML;
use Cwd qw(abs_path);
use File::Basename qw(dirname);

my $top = abs_path(dirname(__FILE__) . '/..');

sub source { Livestream::Test::read_file("$top/$_[0]") }

# The rows of a table: what stands between its name and the closing "};".
sub table {
    my ($file, $name) = @_;

    my ($text) = source($file) =~ /\b\Q$name\E\[\] = \{\n(.*?)\n\};/s
        or die "no table $name in $file\n";

    $text =~ s{/\*.*?\*/}{}gs;
    $text =~ s/"\s*\n\s*"//g;           # adjacent literals are one

    return $text;
}

sub names { sort keys %{ $_[0] } }

my $doc = CPAN::Meta::YAML->read_string(source('conf/openapi.yaml'))->[0];
my $schemas = $doc->{components}{schemas};


# ---- every reference leads somewhere

my @refs = source('conf/openapi.yaml') =~ m{\$ref: '#/(\S+)'}g;
cmp_ok(@refs, '>', 20, 'references');

for my $ref (sort keys %{ { map { $_ => 1 } @refs } }) {
    my $at = $doc;
    $at = ref $at eq 'HASH' ? $at->{$_} : undef for split m{/}, $ref;
    ok($at, "#/$ref is there");
}


# ---- routes

my $routes = table('ngx_livestream_api/ngx_livestream_api_module.c',
                   'ngx_livestream_api_routes');
my (%code, %body);

while ($routes =~ /\{ NGX_HTTP_(\w+), "([^"]+)", ([012]),\s*\w+ \}/g) {
    $code{"\L$1\E /$2"} = 1;
    $body{"\L$1\E /$2"} = $3;
}

my %text;

for my $path (names($doc->{paths})) {
    for my $method (grep { $_ ne 'parameters' } names($doc->{paths}{$path})) {
        my $what = $doc->{paths}{$path}{$method};
        my %answers = %{ $what->{responses} };
        my $name = "$method $path";

        $text{$name} = 1;

        is(!!$what->{requestBody}, !!$body{$name}, "$name: body");
        is($what->{requestBody}{required}, $body{$name} == 1 ? 'true'
                                                             : 'false',
           "$name: body is required or not") if $body{$name};
        is(!!$answers{404}, $path =~ /\{id\}/ ? 1 : '', "$name: 404");
        is(!!$answers{$_}, !!$body{$name}, "$name: $_") for 413, 415;
        is(!!$answers{422}, $body{$name} == 1, "$name: 422");
        ok($answers{$_}, "$name: $_") for 500, 503;
        ok($what->{operationId} && $what->{summary}, "$name: is explained");
    }
}

is_deeply([names(\%text)], [names(\%code)],
          'the routes are those of the code');


# ---- fields

my $fields = table('ngx_livestream_api/ngx_livestream_api_fields.c',
                   'ngx_livestream_api_fields');
my %type = (LINE => 'string', TEXT => 'string', INTEGER => 'integer',
            BOOLEAN => 'boolean', OBJECT => 'object', TIME => 'string',
            KEY => 'string', URL => 'string');
my (%all, %create, %patch, %required);

while ($fields =~ /\{\s*"(\w+)",\s*NGX_LIVESTREAM_API_(\w+),\s*(\d+),\s*
                   ([^,]+),\s*(NULL|"[^"]*"),/gx) {
    my ($name, $type, $max, $use, $missing) = ($1, $2, $3, $4, $5);

    $all{$name} = 1;
    $create{$name} = 1 if $use =~ /BOTH|CREATE/;
    $patch{$name} = 1 if $use =~ /BOTH|PATCH/;
    $required{$name} = 1 if $use =~ /REQUIRED/;

    next if $type eq 'KEY';

    my $p = $schemas->{Livestream}{properties}{$name}
        or fail("$name is described"), next;

    if (($p->{'$ref'} // '') =~ /(\w+)$/) {
        $p = { %{ $schemas->{$1} }, %$p };
    }

    is((ref $p->{type} ? $p->{type}[0] : $p->{type}), $type{$type},
       "$name: type");
    is(!!$p->{readOnly}, $use eq '0' ? 1 : '', "$name: readOnly");

    next if $use eq '0';

    is(ref $p->{type} ? 1 : '', !!($use =~ /NULLABLE/), "$name: null");
    is($p->{maxLength}, $max, "$name: maxLength") if $type =~ /LINE|TEXT/;
    is($p->{minLength}, 1, "$name: minLength") if $type eq 'LINE';

    if ($type eq 'INTEGER') {
        is($p->{maximum}, $max, "$name: maximum");
        is($p->{minimum}, 1, "$name: minimum");
        is($p->{default}, $missing eq 'NULL' ? undef : $missing =~ s/"//gr,
           "$name: default");
    }

    is($p->{default}, $missing eq '"1"' ? 'true' : 'false', "$name: default")
        if $type eq 'BOOLEAN';
    like($p->{description}, qr/\b$max bytes/, "$name: bytes")
        if $name eq 'metadata';
}

my ($columns) = source('ngx_livestream_api/ngx_livestream_api.h')
    =~ /define ngx_livestream_api_columns(.*?)\n\n/s;
is_deeply([sort $columns =~ /(\w+)(?=[,"] ?)/g], [names(\%all)],
          'the columns are those of the table');

delete $all{stream_key};
is_deeply([names($schemas->{Livestream}{properties})], [names(\%all)],
          'Livestream has the fields of the table, but the key');
is_deeply([names($schemas->{NewLivestream}{properties})], [names(\%create)],
          'NewLivestream has those that may be given');
is_deeply([sort @{ $schemas->{NewLivestream}{required} }],
          [names(\%required)], 'and requires those that must be');
is_deeply([names($schemas->{LivestreamPatch}{properties})], [names(\%patch)],
          'LivestreamPatch has those that may be changed');


# ---- recordings

my $recordings = 'ngx_livestream_api/ngx_livestream_api_recordings.c';
my %json = (TEXT => 'string', INTEGER => 'integer', NUMBER => 'number');

for (['Recording', 'ngx_livestream_api_r_fields',
      qw(storyboard_url conversion storage)],
     ['Conversion', 'ngx_livestream_api_c_fields'],
     ['Storage', 'ngx_livestream_api_s_fields']) {
    my ($schema, $table, @more) = @$_;
    my %is = table($recordings, $table)
             =~ /\{ "(\w+)", NGX_LIVESTREAM_API_R_(\w+) \}/g;
    my $properties = $schemas->{$schema}{properties};

    is_deeply([names($properties)], [sort @more, names(\%is)],
              "$schema has the fields of the table");

    for my $name (names(\%is)) {
        my $p = $properties->{$name};
        my ($ref) = ($p->{'$ref'} // '') =~ /(\w+)$/;

        $p = $schemas->{$ref} if $ref;
        is((ref $p->{type} ? $p->{type}[0] : $p->{type}), $json{ $is{$name} },
           "$schema.$name: type");
    }
}

my @statuses = table($recordings, 'ngx_livestream_api_recording_statuses')
               =~ /"(\w+)"/g;

is_deeply($schemas->{RecordingStatus}{enum}, \@statuses,
          'the statuses of recordings are those of the code');
is_deeply([sort @statuses],
          [sort +(source('sql/002_recordings.sqlite.sql')
                  =~ /CHECK \(status IN \((.*?)\)\)/s)[0] =~ /'(\w+)'/g],
          'and of the schema');

my %page = map { $_->{name} => $_->{schema} }
           @{ $doc->{paths}{'/livestreams/{id}/recordings'}{get}{parameters} };
is_deeply([names(\%page)],
          [sort +(table($recordings, 'ngx_livestream_api_recording_args')
                  =~ /"(\w+)"/g)],
          'the arguments of the list of recordings');


# ---- settings

my $rows = table('modules/ngx_livestream_settings.c',
                 'ngx_livestream_setting_table');
my %kind = (bool => 'boolean', integer => 'integer', number => 'number',
            word => 'string', names => 'array');
my %settings;

while ($rows =~ /\{\s*"(\w+)",\s*ngx_livestream_setting_(\w+),\s*
                 ngx_livestream_setting_offset\(\w+\),\s*
                 ([\d.]+),\s*([\d.]+),\s*(\w+)/gx) {
    my ($name, $kind, $min, $max, $words) = ($1, $2, $3, $4, $5);
    my $p = $schemas->{Settings}{properties}{$name}
        or fail("settings.$name is described"), next;

    $settings{$name} = 1;

    is($p->{type}, $kind{$kind}, "settings.$name: type");
    is_deeply([@$p{qw(minimum maximum)}], [$min, $max],
              "settings.$name: range") if $kind =~ /integer|number/;
    is_deeply([@$p{qw(minItems maxItems)}], [$min, $max],
              "settings.$name: range") if $kind eq 'names';
    is_deeply($p->{enum}, [table('modules/ngx_livestream_settings.c', $words)
                           =~ /"(\w+)"/g], "settings.$name: words")
        if $kind eq 'word';
}

is_deeply([names($schemas->{Settings}{properties})], [names(\%settings)],
          'the settings are those of the table');


# ---- statuses

is_deeply($schemas->{Status}{enum},
          [table('ngx_livestream_api/ngx_livestream_api_list.c',
                 'ngx_livestream_api_statuses') =~ /"(\w+)"/g],
          'the statuses are those of the code');
is_deeply([sort @{ $schemas->{Status}{enum} }],
          [sort +(source('sql/001_livestream.sqlite.sql')
                  =~ /CHECK \(status IN \((.*?)\)\)/s)[0] =~ /'(\w+)'/g],
          'and of the schema');

my %query = map { $_->{name} => $_->{schema} }
            @{ $doc->{paths}{'/livestreams'}{get}{parameters} };
is_deeply([names(\%query)],
          [sort +(table('ngx_livestream_api/ngx_livestream_api_list.c',
                        'ngx_livestream_api_args') =~ /"(\w+)"/g)],
          'the arguments of the list');

my $list = source('ngx_livestream_api/ngx_livestream_api_list.c');
is($query{limit}{default}, ($list =~ /API_LIMIT +(\d+)/)[0], 'limit');
is($query{limit}{maximum}, ($list =~ /API_MAX_LIMIT +(\d+)/)[0], 'its most');


# ---- a real answer

my $t = Livestream::Test->new;
$t->start;

my ($status, $s) = $t->api(POST => '/livestreams',
                           { title => 'x', user_id => 'y' });
is_deeply([names($s)], [sort 'stream_key', names(\%all)],
          'a stream has the fields that are described');

($status, my $problem) = $t->api(POST => '/livestreams', {});
is_deeply([names($problem)], [names($schemas->{Problem}{properties})],
          'a problem has those that are described');
is_deeply([names($problem->{errors}[0])],
          [names($schemas->{Problem}{properties}{errors}{items}{properties})],
          'and its errors');

my $rid = '01234567-89ab-cdef-0123-456789abcdef';
$t->sql('INSERT INTO dvr_recordings (id, live_stream_id, start_time)'
        . " VALUES ('$rid', '$s->{id}', '2026-01-31T12:00:00.000Z')");
(undef, my $recording)
    = $t->api(GET => "/livestreams/$s->{id}/recordings/$rid");
is_deeply([names($recording)],
          [grep { !/^(?:conversion|storage)$/ }
           names($schemas->{Recording}{properties})],
          'a recording has the fields that are described');

$t->stop;
done_testing();
