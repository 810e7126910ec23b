package Livestream::Test::Recording;

# Copyright (C) nginx-livestream contributors
#
# A finished recording, as nginx leaves one, made by ffmpeg: pictures and a
# tone in segments of two seconds, each playlist with its gzip beside; and its
# rows in the store of an nginx that runs.
#
#     my $r = Livestream::Test::Recording->make($t, seconds => 12);
#
#     $r->{id} $r->{rid}            the stream's and its own
#     $r->{video}                   of a video, ID/videos/VIDEOID.mp4
#     $r->{dir}                     where it lies
#     $r->path('audio', 'init-0.mp4')      of its URL
#     $r->video_path
#     $r->file('audio', 'init-0.mp4')      the bytes of its file

use v5.28;
use warnings;

use File::Path qw(make_path);
use IO::Compress::Gzip qw(gzip);

use Livestream::Test ();

my %sources = (
    source => ['testsrc2=s=320x180:r=25', qw(-c:v libx264 -preset ultrafast
               -g 50 -keyint_min 50 -sc_threshold 0 -pix_fmt yuv420p)],
    audio  => ['sine=frequency=440:sample_rate=48000', qw(-c:a aac)],
);

my $master = join "\n", '#EXTM3U', '#EXT-X-VERSION:7',
    '#EXT-X-INDEPENDENT-SEGMENTS',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,'
    . 'AUTOSELECT=YES,URI="audio/playlist.m3u8"',
    '#EXT-X-STREAM-INF:BANDWIDTH=1000000,CODECS="avc1.42c00c,mp4a.40.2",'
    . 'RESOLUTION=320x180,AUDIO="audio"',
    'source/playlist.m3u8', '';


sub uuid {
    my @words = map { sprintf '%04x', rand 65536 } 1 .. 8;

    return sprintf '%s%s-%s-4%s-a%s-%s%s%s', @words[0 .. 2],
        map({ substr $_, 1 } @words[3, 4]), @words[5 .. 7];
}


sub make {
    my ($class, $t, %option) = @_;

    my $r = bless { id => $t->create->{id}, rid => uuid(), video => uuid(),
                    %option }, $class;
    my $root = $option{root} // "$t->{dir}/data/media/recordings";
    my $seconds = $option{seconds} // 12;

    $r->{root} = "$root/$r->{id}";
    $r->{dir} = "$r->{root}/$r->{rid}";

    make_path("$r->{root}/videos");

    for my $track (sort keys %sources) {
        my ($source, @codec) = @{ $sources{$track} };
        my $dir = "$r->{dir}/$track";

        make_path($dir);

        ffmpeg('-f', 'lavfi', '-i', "$source:d=$seconds", @codec,
               qw(-f hls -hls_segment_type fmp4 -hls_time 2),
               qw(-hls_playlist_type vod -hls_fmp4_init_filename init-0.mp4),
               '-hls_segment_filename', "$dir/segment-%d.m4s",
               "$dir/playlist.m3u8");
        compress("$dir/playlist.m3u8");
    }

    ffmpeg('-i', "$r->{dir}/source/playlist.m3u8",
           '-i', "$r->{dir}/audio/playlist.m3u8",
           qw(-c copy -movflags +faststart),
           "$r->{root}/videos/$r->{video}.mp4");

    ffmpeg('-f', 'lavfi', '-i', 'color=blue:s=160x90', '-frames:v', 1,
           "$r->{dir}/$_") for 'poster.jpg', 'storyboard-0.jpg';

    Livestream::Test::write_file("$r->{dir}/storyboard.vtt",
        "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\n"
        . "storyboard-0.jpg#xywh=0,0,160,90\n");

    # what nobody is to get
    Livestream::Test::write_file("$r->{dir}/index", "livestream-recording\n");

    Livestream::Test::write_file("$r->{dir}/master.m3u8", $master);
    compress("$r->{dir}/master.m3u8");

    $t->sql("INSERT INTO videos (id, title, user_id, status)"
            . " VALUES ('$r->{video}', 'A video', 'tester', 'ready');"
            . " INSERT INTO dvr_recordings"
            . " (id, live_stream_id, video_id, start_time, end_time, status)"
            . " VALUES ('$r->{rid}', '$r->{id}', '$r->{video}',"
            . " '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:12.000Z',"
            . " 'ready')");

    return $r;
}


sub ffmpeg {
    system('ffmpeg', qw(-v error -nostdin -y), @_) == 0
        or die "ffmpeg could not make a recording\n";
}


sub compress {
    my ($path) = @_;

    gzip($path => "$path.gz") or die "could not compress $path\n";
}


sub path {
    my ($r, @parts) = @_;

    return join '/', '/streams', $r->{id}, 'recordings', $r->{rid}, @parts;
}


sub video_path {
    my ($r) = @_;

    return "/streams/$r->{id}/videos/$r->{video}.mp4";
}


sub file {
    my ($r, @parts) = @_;

    return Livestream::Test::read_file(join '/', $r->{dir}, @parts);
}


1;
