"""Tables, constraints and views: the whole model of the first release."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXTENSION = "CREATE EXTENSION IF NOT EXISTS btree_gist"

MASTER_DATA = """
CREATE TABLE municipality (
    municipality_id text PRIMARY KEY CHECK (municipality_id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    name            text NOT NULL,
    timezone        text NOT NULL DEFAULT 'Europe/Copenhagen',
    rules           jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN municipality.rules IS 'Overrides of schemas.fleet.rules.Rules';

CREATE TABLE api_key (
    key_hash        bytea PRIMARY KEY CHECK (octet_length(key_hash) = 32),
    key_prefix      text NOT NULL,
    municipality_id text NOT NULL REFERENCES municipality,
    vendor          text NOT NULL CHECK (length(vendor) BETWEEN 1 AND 60),
    created_at      timestamptz NOT NULL DEFAULT now(),
    revoked_at      timestamptz
);
COMMENT ON TABLE api_key IS 'SHA-256 of random 256-bit keys; the keys themselves are never stored';

CREATE TABLE depot (
    depot_id        text PRIMARY KEY,
    municipality_id text NOT NULL REFERENCES municipality,
    name            text NOT NULL,
    lat             double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon             double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    radius_m        double precision NOT NULL DEFAULT 200 CHECK (radius_m > 0),
    capacity        integer NOT NULL CHECK (capacity >= 0),
    charger_count   integer NOT NULL DEFAULT 0 CHECK (charger_count >= 0),
    CHECK (starts_with(depot_id, municipality_id || '/')),
    UNIQUE (municipality_id, depot_id)
);

CREATE TABLE vehicle (
    vehicle_id         text PRIMARY KEY,
    municipality_id    text NOT NULL REFERENCES municipality,
    name               text NOT NULL,
    vehicle_type       text NOT NULL DEFAULT 'unknown' CHECK (vehicle_type IN
                         ('car', 'van', 'cargo_bike', 'e_bike', 'bike', 'unknown')),
    energy_source      text NOT NULL DEFAULT 'unknown' CHECK (energy_source IN
                         ('petrol', 'diesel', 'hvo', 'electricity', 'muscle', 'unknown')),
    consumption_per_km double precision NOT NULL DEFAULT 0 CHECK (consumption_per_km >= 0),
    yearly_cost_dkk    double precision NOT NULL DEFAULT 0 CHECK (yearly_cost_dkk >= 0),
    range_km           double precision CHECK (range_km > 0),
    seats              integer NOT NULL DEFAULT 5 CHECK (seats >= 1),
    home_depot_id      text,
    lease_ends_on      date,
    registered         boolean NOT NULL DEFAULT true,
    CHECK (starts_with(vehicle_id, municipality_id || '/')),
    FOREIGN KEY (municipality_id, home_depot_id) REFERENCES depot (municipality_id, depot_id)
);
COMMENT ON COLUMN vehicle.registered IS 'false: seen in the stream, not yet entered';
CREATE INDEX vehicle_by_municipality ON vehicle (municipality_id);
"""

TIMELINE = """
CREATE TABLE fix (
    vehicle_id    text NOT NULL,
    recorded_at   timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    lat           double precision NOT NULL,
    lon           double precision NOT NULL,
    speed_mps     double precision,
    heading_deg   double precision,
    ignition      boolean,
    odometer_m    double precision,
    fuel_fraction double precision,
    soc_fraction  double precision,
    accuracy_m    double precision,
    quarantine    text,
    PRIMARY KEY (vehicle_id, recorded_at)
);
COMMENT ON TABLE fix IS 'As reported, digit for digit: a late fix folds the stored ones again';
COMMENT ON COLUMN fix.quarantine IS 'why the timeline leaves this fix out, such as impossible-leg';

CREATE TABLE segment (
    vehicle_id  text NOT NULL REFERENCES vehicle,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    state       text NOT NULL CHECK (state IN ('driving', 'idling', 'parked', 'offline')),
    distance_m  double precision NOT NULL CHECK (distance_m >= 0),
    moved       boolean NOT NULL,
    start_lat   double precision NOT NULL,
    start_lon   double precision NOT NULL,
    end_lat     double precision NOT NULL,
    end_lon     double precision NOT NULL,
    is_open     boolean NOT NULL,
    PRIMARY KEY (vehicle_id, started_at),
    CHECK (ended_at >= started_at),
    EXCLUDE USING gist (vehicle_id WITH =, tstzrange(started_at, ended_at) WITH &&)
);
COMMENT ON COLUMN segment.is_open IS 'still going on: ended_at is the last fix so far';
COMMENT ON COLUMN segment.moved IS 'offline only: the vehicle was elsewhere when it came back';
CREATE UNIQUE INDEX segment_one_open ON segment (vehicle_id) WHERE is_open;
CREATE INDEX segment_by_time ON segment (started_at);

CREATE TABLE trip (
    vehicle_id     text NOT NULL REFERENCES vehicle,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL,
    distance_m     double precision NOT NULL CHECK (distance_m >= 0),
    driving_s      numeric(16, 6) NOT NULL CHECK (driving_s >= 0),
    idling_s       numeric(16, 6) NOT NULL CHECK (idling_s >= 0),
    start_lat      double precision NOT NULL,
    start_lon      double precision NOT NULL,
    end_lat        double precision NOT NULL,
    end_lon        double precision NOT NULL,
    start_depot_id text REFERENCES depot,
    end_depot_id   text REFERENCES depot,
    is_open        boolean NOT NULL,
    PRIMARY KEY (vehicle_id, started_at),
    CHECK (ended_at >= started_at),
    EXCLUDE USING gist (vehicle_id WITH =, tstzrange(started_at, ended_at) WITH &&)
);
CREATE UNIQUE INDEX trip_one_open ON trip (vehicle_id) WHERE is_open;
CREATE INDEX trip_by_time ON trip (started_at);

CREATE TABLE idle_interval (
    vehicle_id text NOT NULL REFERENCES vehicle,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    lat        double precision NOT NULL,
    lon        double precision NOT NULL,
    fuel_l     double precision NOT NULL CHECK (fuel_l >= 0),
    co2e_kg    double precision NOT NULL CHECK (co2e_kg >= 0),
    is_open    boolean NOT NULL,
    PRIMARY KEY (vehicle_id, started_at),
    CHECK (ended_at >= started_at)
);
CREATE INDEX idle_interval_by_time ON idle_interval (started_at);

CREATE TABLE round_trip (
    vehicle_id     text NOT NULL REFERENCES vehicle,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('complete', 'one-way', 'open', 'over-long')),
    start_depot_id text REFERENCES depot,
    end_depot_id   text REFERENCES depot,
    distance_m     double precision NOT NULL CHECK (distance_m >= 0),
    trip_count     integer NOT NULL CHECK (trip_count >= 1),
    is_open        boolean NOT NULL,
    PRIMARY KEY (vehicle_id, started_at),
    CHECK (ended_at >= started_at)
);
CREATE UNIQUE INDEX round_trip_one_open ON round_trip (vehicle_id) WHERE is_open;
CREATE INDEX round_trip_by_time ON round_trip (started_at);

CREATE TABLE usage_hour (
    vehicle_id text NOT NULL,
    hour       timestamptz NOT NULL,
    driving_s  numeric(10, 6) NOT NULL CHECK (driving_s >= 0),
    idling_s   numeric(10, 6) NOT NULL CHECK (idling_s >= 0),
    parked_s   numeric(10, 6) NOT NULL CHECK (parked_s >= 0),
    offline_s  numeric(10, 6) NOT NULL CHECK (offline_s >= 0),
    distance_m double precision NOT NULL CHECK (distance_m >= 0),
    trip_count integer NOT NULL CHECK (trip_count >= 0),
    fuel_l     double precision NOT NULL CHECK (fuel_l >= 0),
    energy_kwh double precision NOT NULL CHECK (energy_kwh >= 0),
    co2e_kg    double precision NOT NULL CHECK (co2e_kg >= 0),
    PRIMARY KEY (vehicle_id, hour),
    CHECK (driving_s + idling_s + parked_s + offline_s <= 3600)
);
COMMENT ON COLUMN usage_hour.trip_count IS 'trips that started in the hour';

CREATE TABLE vehicle_state (
    vehicle_id        text PRIMARY KEY REFERENCES vehicle,
    version           bigint NOT NULL,
    first_recorded_at timestamptz NOT NULL,
    last_recorded_at  timestamptz NOT NULL CHECK (last_recorded_at >= first_recorded_at),
    state             text NOT NULL
);
COMMENT ON TABLE vehicle_state IS 'Where the fold of processors stands after all stored fixes';
COMMENT ON COLUMN vehicle_state.state IS 'processors.timeline.vehicle_fold.VehicleState as JSON';
COMMENT ON COLUMN vehicle_state.version IS 'grows by one with each write: tells a stale cache';

CREATE TABLE vehicle_checkpoint (
    vehicle_id  text NOT NULL REFERENCES vehicle,
    recorded_at timestamptz NOT NULL,
    state       text NOT NULL,
    PRIMARY KEY (vehicle_id, recorded_at)
);
COMMENT ON TABLE vehicle_checkpoint IS 'Where a recomputation for late fixes can start from';
"""

STREAM = """
CREATE TABLE stream_progress (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE stream_progress IS 'Next Kafka offset to process; moved by compare-and-set only';

CREATE TABLE outbox (
    message_id   uuid PRIMARY KEY,
    position     bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    topic        text NOT NULL,
    key          text NOT NULL,
    payload      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (position) WHERE published_at IS NULL;

CREATE TABLE dead_letter (
    dead_letter_id  uuid PRIMARY KEY,
    reason          text NOT NULL,
    detail          text NOT NULL,
    topic           text NOT NULL,
    partition       integer NOT NULL,
    record_offset   bigint NOT NULL,
    item_index      integer,
    message_key     bytea,
    message_value   bytea NOT NULL,
    municipality_id text,
    vehicle_id      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    replayed_at     timestamptz
);
COMMENT ON COLUMN dead_letter.message_value IS
    'A whole message that can be produced again; of a batch only the item at fault';
CREATE INDEX dead_letter_by_time ON dead_letter (created_at);
"""

PLANS = """
CREATE TABLE plan (
    plan_id         uuid PRIMARY KEY,
    municipality_id text NOT NULL REFERENCES municipality,
    created_at      timestamptz NOT NULL,
    trigger         text NOT NULL CHECK (trigger IN ('schedule', 'drift', 'on-demand')),
    trigger_reason  text NOT NULL,
    demand_from     timestamptz NOT NULL,
    demand_to       timestamptz NOT NULL CHECK (demand_to >= demand_from),
    round_trip_count integer NOT NULL,
    inputs_hash     text NOT NULL CHECK (inputs_hash ~ '^[0-9a-f]{64}$'),
    seed            bigint NOT NULL,
    status          text NOT NULL CHECK (status IN
                      ('optimal', 'feasible', 'infeasible', 'unknown')),
    objective_dkk   double precision NOT NULL,
    bound_dkk       double precision NOT NULL,
    gap             double precision NOT NULL CHECK (gap >= 0),
    cost_before_dkk double precision NOT NULL,
    document        jsonb NOT NULL
);
COMMENT ON COLUMN plan.document IS 'The whole schemas.plans.plan.PlacementPlan as it was published';
CREATE INDEX plan_by_municipality ON plan (municipality_id, created_at DESC);

CREATE TABLE plan_move (
    plan_id       uuid NOT NULL REFERENCES plan,
    vehicle_id    text NOT NULL REFERENCES vehicle,
    from_depot_id text REFERENCES depot,
    to_depot_id   text NOT NULL REFERENCES depot,
    reason        text NOT NULL,
    PRIMARY KEY (plan_id, vehicle_id)
);

CREATE TABLE plan_request (
    request_id      uuid PRIMARY KEY,
    municipality_id text NOT NULL REFERENCES municipality,
    requested_by    text NOT NULL,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    done_at         timestamptz,
    plan_id         uuid REFERENCES plan,
    outcome         text
);
CREATE INDEX plan_request_waiting ON plan_request (requested_at) WHERE done_at IS NULL;
"""


def upgrade() -> None:
    """Create everything that is the same with and without TimescaleDB."""
    for statements in (EXTENSION, MASTER_DATA, TIMELINE, STREAM, PLANS):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: dropping these tables would drop the history of every vehicle."""
    raise NotImplementedError("revision 0001 has no downgrade: restore a backup instead")
