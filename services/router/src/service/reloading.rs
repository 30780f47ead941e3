//! Having the configuration read again, for operators.

use penstock_chassis::reload::Reloaded;
use penstock_proto::router::v1::ReloadResponse;
use tonic::Status;

use super::Router;

impl Router {
    /// Reads the configuration again, in this process and the adapter's. Who asks has been checked.
    pub(super) async fn read_again(&self) -> Result<ReloadResponse, Status> {
        let Reloaded { changed, needs_restart } = self.reloader.reload().await?;
        Ok(ReloadResponse { changed, needs_restart })
    }
}
