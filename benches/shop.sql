-- A shop of about 2 GB: wide text, jsonb, narrow rows by the million, 20 indexes (two GIN), 9 foreign keys.
-- The same on every machine: no random(), no now().
CREATE TABLE sellers (id bigint PRIMARY KEY, name text NOT NULL, city text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE listings (id bigint PRIMARY KEY, seller_id bigint NOT NULL, title text NOT NULL, body text NOT NULL,
    attributes jsonb NOT NULL, price numeric(10, 2) NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE images (id bigint PRIMARY KEY, listing_id bigint NOT NULL, url text NOT NULL, width int, height int);
CREATE TABLE events (id bigint PRIMARY KEY, listing_id bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, payload text);
CREATE TABLE orders (id bigint PRIMARY KEY, listing_id bigint NOT NULL, seller_id bigint NOT NULL, buyer text NOT NULL,
    amount numeric(10, 2) NOT NULL, at timestamptz NOT NULL);
INSERT INTO sellers SELECT i, 'seller ' || md5(i::text), 'city ' || i % 997, '2026-01-01'::timestamptz + i * interval '7 s'
    FROM generate_series(1, 100000) i;
INSERT INTO listings SELECT i, 1 + i % 100000, 'listing ' || md5(i::text),
    (SELECT string_agg(md5((i * 40 + j)::text), ' ') FROM generate_series(1, 40) j),
    jsonb_build_object('colour', i % 17, 'size', i % 29, 'tag', md5((i % 5000)::text)), (i % 100000) / 7.0,
    '2026-01-01'::timestamptz + i * interval '11 s' FROM generate_series(1, 450000) i;
INSERT INTO images SELECT i, 1 + i % 450000, 'https://cdn.example.com/' || md5(i::text) || '.jpg', 640 + i % 1000, 480 + i % 700
    FROM generate_series(1, 1200000) i;
INSERT INTO events SELECT i, 1 + (i::bigint * 7919) % 450000, 'kind ' || i % 23, '2026-01-01'::timestamptz + i * interval '1 s', md5(i::text)
    FROM generate_series(1, 2500000) i;
INSERT INTO orders SELECT i, 1 + (i::bigint * 31) % 450000, 1 + i % 100000, md5((i % 70000)::text), (i % 50000) / 3.0,
    '2026-01-01'::timestamptz + i * interval '3 s' FROM generate_series(1, 1000000) i;
CREATE INDEX ON listings (seller_id);
CREATE INDEX ON listings (lower(title));
CREATE INDEX ON listings USING gin (attributes);
CREATE INDEX ON listings USING gin (to_tsvector('simple', title));
CREATE INDEX ON listings (created_at, price);
CREATE INDEX ON images (listing_id);
CREATE UNIQUE INDEX ON images (url);
CREATE INDEX ON events (listing_id, at);
CREATE INDEX ON events (kind);
CREATE INDEX ON events (at);
CREATE INDEX ON events (md5(payload));
CREATE INDEX ON orders (listing_id);
CREATE INDEX ON orders (seller_id, at);
CREATE INDEX ON orders (buyer);
ALTER TABLE listings ADD FOREIGN KEY (seller_id) REFERENCES sellers;
ALTER TABLE images ADD FOREIGN KEY (listing_id) REFERENCES listings;
ALTER TABLE events ADD FOREIGN KEY (listing_id) REFERENCES listings;
ALTER TABLE orders ADD FOREIGN KEY (listing_id) REFERENCES listings;
ALTER TABLE orders ADD FOREIGN KEY (seller_id) REFERENCES sellers;
