-- Recordings, what is made of them, and where their files are.

-- The platform's own table: it may be there already.
CREATE TABLE IF NOT EXISTS videos (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    title               VARCHAR(255) NOT NULL,
    user_id             VARCHAR(100) NOT NULL,
    source_url          TEXT,
    duration            DOUBLE PRECISION DEFAULT 0,
    size                BIGINT DEFAULT 0,
    status              VARCHAR(20) NOT NULL,
    created_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE dvr_recordings (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    live_stream_id      VARCHAR(36) NOT NULL
                        REFERENCES live_streams (id) ON DELETE CASCADE,
    video_id            VARCHAR(36)
                        REFERENCES videos (id) ON DELETE SET NULL,
    start_time          TEXT NOT NULL,
    end_time            TEXT,
    duration            DOUBLE PRECISION DEFAULT 0,
    size                BIGINT DEFAULT 0,
    status              VARCHAR(20) NOT NULL DEFAULT 'recording'
                        CHECK (status IN ('recording', 'processing', 'ready',
                                          'failed', 'deleted')),
    recording_url       TEXT,
    manifest_url        TEXT,
    thumbnail_url       TEXT,
    retention_until     TEXT,
    created_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at          TEXT NOT NULL
                        DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX idx_dvr_recordings_live_stream_id
    ON dvr_recordings (live_stream_id, start_time);
CREATE INDEX idx_dvr_recordings_status ON dvr_recordings (status);
CREATE INDEX idx_dvr_recordings_retention_until
    ON dvr_recordings (retention_until);

-- Conversions to MP4: the last one of each recording.
CREATE TABLE dvr_conversions (
    recording_id        VARCHAR(36) PRIMARY KEY NOT NULL
                        REFERENCES dvr_recordings (id) ON DELETE CASCADE,
    live_stream_id      VARCHAR(36) NOT NULL,
    video_id            VARCHAR(36) NOT NULL,
    resolution          VARCHAR(20),
    status              VARCHAR(20) NOT NULL DEFAULT 'pending'
                        CHECK (status IN ('pending', 'running', 'ready',
                                          'failed')),
    progress            DOUBLE PRECISION NOT NULL DEFAULT 0,
    error               TEXT,
    created_at          TEXT NOT NULL,
    updated_at          TEXT NOT NULL
);

CREATE INDEX idx_dvr_conversions_status ON dvr_conversions (status);

-- The journal of uploads, a row for each file that is to be in storage; it
-- outlives the recording's own row, so that no object is forgotten.  name is
-- the object's key: ID/RID/TRACK/segment-N.m4s.
--
--   pending --> stored (confirmed; the file is there too) --> remote
--                     any of them --> deleting --> (row removed)
CREATE TABLE dvr_objects (
    name                VARCHAR(255) PRIMARY KEY NOT NULL,
    recording_id        VARCHAR(36) NOT NULL,
    status              VARCHAR(20) NOT NULL DEFAULT 'pending'
                        CHECK (status IN ('pending', 'stored', 'remote',
                                          'deleting')),
    size                BIGINT NOT NULL DEFAULT 0,
    checksum            VARCHAR(80),
    attempts            INTEGER NOT NULL DEFAULT 0,
    -- when it is tried next, or when the file may go
    due                 TEXT NOT NULL,
    error               TEXT
);

CREATE INDEX idx_dvr_objects_status ON dvr_objects (status, due);
CREATE INDEX idx_dvr_objects_recording_id ON dvr_objects (recording_id, status);
