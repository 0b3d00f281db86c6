//! The load of a plain dump over several connections, against a real server.

mod support;

use support::postgres::Server;

#[test]
fn server_smoke() {
    let server = Server::shared();
    let name = server.database();
    assert_eq!(server.sql(&name, "SELECT 1"), "1");
    let mut own = Server::up(&support::postgres::Options::default());
    own.crash();
    own.start();
    assert_eq!(own.sql("postgres", "SELECT 1"), "1");
}
