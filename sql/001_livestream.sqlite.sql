-- Streams and their variants.
--
-- Times are RFC 3339 UTC texts with milliseconds, booleans 0 and 1, JSON is
-- text.  CURRENT_TIMESTAMP would give the time in another form to clients that
-- are not the server, hence the strftime() of the defaults.

CREATE TABLE live_streams (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL
                        CHECK (length(id) = 36),
    title               VARCHAR(255) NOT NULL
                        CHECK (length(title) BETWEEN 1 AND 255),
    description         TEXT,
    user_id             VARCHAR(100) NOT NULL
                        CHECK (length(user_id) BETWEEN 1 AND 100),
    stream_key          VARCHAR(100) NOT NULL
                        CHECK (length(stream_key) BETWEEN 1 AND 100),
    rtmp_ingest_url     VARCHAR(255) NOT NULL
                        CHECK (length(rtmp_ingest_url) <= 255),
    status              VARCHAR(20) NOT NULL DEFAULT 'idle'
                        CHECK (status IN ('idle', 'starting', 'live',
                                          'interrupted', 'stopping',
                                          'stopped', 'ended', 'error')),
    master_playlist     TEXT,
    viewer_count        INTEGER DEFAULT 0 CHECK (viewer_count >= 0),
    peak_viewer_count   INTEGER DEFAULT 0 CHECK (peak_viewer_count >= 0),
    dvr_enabled         BOOLEAN DEFAULT FALSE CHECK (dvr_enabled IN (0, 1)),
    dvr_window          INTEGER DEFAULT 7200 CHECK (dvr_window > 0),
    low_latency         BOOLEAN DEFAULT FALSE CHECK (low_latency IN (0, 1)),
    settings            TEXT NOT NULL DEFAULT '{}'
                        CHECK (json_type(settings) = 'object'),
    metadata            TEXT DEFAULT '{}'
                        CHECK (json_type(metadata) = 'object'),
    started_at          TEXT,
    ended_at            TEXT,
    created_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX idx_live_streams_user_id ON live_streams (user_id);
CREATE INDEX idx_live_streams_status ON live_streams (status);
CREATE UNIQUE INDEX idx_live_streams_stream_key ON live_streams (stream_key);
CREATE INDEX idx_live_streams_created_at ON live_streams (created_at);

-- for every update that does not say it itself
CREATE TRIGGER live_streams_updated_at
AFTER UPDATE ON live_streams FOR EACH ROW
WHEN NEW.updated_at = OLD.updated_at
BEGIN
    UPDATE live_streams
       SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
     WHERE id = NEW.id;
END;

CREATE TABLE live_stream_variants (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    live_stream_id      VARCHAR(36) NOT NULL
                        REFERENCES live_streams (id) ON DELETE CASCADE,
    resolution          VARCHAR(20) NOT NULL,
    width               INTEGER NOT NULL,
    height              INTEGER NOT NULL,
    bitrate             BIGINT NOT NULL,
    frame_rate          DOUBLE PRECISION NOT NULL DEFAULT 30.0,
    codec               VARCHAR(20) NOT NULL,
    audio_bitrate       INTEGER NOT NULL,
    playlist_url        TEXT NOT NULL,
    segment_pattern     VARCHAR(255) NOT NULL,
    created_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX idx_live_stream_variants_live_stream_id
    ON live_stream_variants (live_stream_id);
