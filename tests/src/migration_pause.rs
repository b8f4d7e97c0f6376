//! A pause in the middle of a migration.

use crate::until;
use tokio_postgres::Client;

/// A migration waits here, at one of its commands, until it may continue.
///
/// It polls for the permission to continue instead of waiting for a lock, because a migration gives up waiting for a lock.
#[derive(Debug)]
pub struct MigrationPause<'a>(&'a Client);

impl<'a> MigrationPause<'a> {
    /// Pauses the next migration of this client's database once: at the first command for which `condition` is true. It
    /// may use `tg_tag`, the kind of the command, and `command`, its number.
    pub async fn at(client: &'a Client, condition: &str) -> Self {
        let sql = format!(
            "create table public.pauses (may_continue boolean not null);
             create sequence public.migration_commands;
             create sequence public.paused_session;
             create function public.pause_migration() returns event_trigger language plpgsql as $$
             declare
                 command constant bigint := nextval('public.migration_commands');
             begin
                 if ({condition}) and not (select s.is_called from public.paused_session s) then
                     perform setval('public.paused_session', pg_backend_pid());
                     while not exists (select from public.pauses) loop
                         perform pg_sleep(0.005);
                     end loop;
                 end if;
             end
             $$;
             create event trigger pause_migration on ddl_command_start execute function public.pause_migration()"
        );
        client.batch_execute(&sql).await.expect("a superuser's connection");
        Self(client)
    }

    /// Waits until the migration is paused.
    pub async fn reached(&self) {
        until(self.0, "select s.is_called from public.paused_session s").await;
    }

    /// Lets the migration continue, and waits until its session has ended. Its process is dead.
    pub async fn end(self) {
        self.0.execute("insert into public.pauses values (true)", &[]).await.expect("a table of the test");
        let ended = "select not exists (
                         select from pg_stat_activity a join public.paused_session s on s.last_value = a.pid
                     )";
        until(self.0, ended).await;
        self.remove().await;
    }

    /// Returns the number of commands that migrations have run since this value was made.
    pub async fn commands(&self) -> i64 {
        let commands = "select s.last_value from public.migration_commands s";
        self.0.query_one(commands, &[]).await.expect("a sequence of the test").get(0)
    }

    async fn remove(self) {
        self.0
            .batch_execute(
                "drop event trigger pause_migration;
                 drop function public.pause_migration();
                 drop sequence public.migration_commands, public.paused_session;
                 drop table public.pauses",
            )
            .await
            .expect("a superuser's connection");
    }
}
