//! What an instance of a worker pool consists of.

use super::WorkerPool;
use crate::{CloudError, ErrorKind, google::retry};
use google_cloud_run_v2::model;

/// The resources of one instance, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolShape {
    /// The number of instances that was set last.
    pub instances: u32,
    /// vCPUs.
    pub vcpus: f64,
    /// Memory, GiB.
    pub gib: f64,
    /// GPUs.
    pub gpus: f64,
    /// Whether the GPUs count against the quota with zonal redundancy. The API's default is that they do.
    pub gpus_are_redundant: bool,
}

impl WorkerPool {
    /// Reads the resources of the pool's instances.
    pub async fn shape(&self) -> Result<PoolShape, CloudError> {
        let doing = format!("read {}", self.name);
        let pool = retry::with_retries(retry::RETRY_LIMIT, || self.get(&doing)).await?;
        shape_of(&pool).map_err(|reason| CloudError::new(ErrorKind::Invalid, format!("{doing}: {reason}")))
    }
}

fn shape_of(pool: &model::WorkerPool) -> Result<PoolShape, String> {
    let count = pool.scaling.as_ref().and_then(|scaling| scaling.manual_instance_count).unwrap_or(0);
    let template = pool.template.as_ref().ok_or("it has no template")?;
    let of = |resource: &str, parse: fn(&str) -> Option<f64>| -> Result<f64, String> {
        let limits =
            template.containers.iter().filter_map(|container| container.resources.as_ref()?.limits.get(resource));
        let amounts =
            limits.map(|text| parse(text).ok_or_else(|| format!("{resource} is {text:?}, which is no amount")));
        amounts.sum()
    };
    Ok(PoolShape {
        instances: u32::try_from(count).unwrap_or(0),
        vcpus: of("cpu", vcpus)?,
        gib: of("memory", gib)?,
        gpus: of("nvidia.com/gpu", |text| text.parse().ok())?,
        gpus_are_redundant: template.gpu_zonal_redundancy_disabled != Some(true),
    })
}

/// vCPUs, as in Kubernetes: `4` or `4000m`.
fn vcpus(text: &str) -> Option<f64> {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().ok().map(|amount| amount / 1_000.0),
        None => text.parse().ok(),
    }
}

/// Memory, as in Kubernetes: `16Gi`, `512Mi` or bytes.
fn gib(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 6] = [
        ("Gi", 1.0),
        ("Mi", 1.0 / 1_024.0),
        ("Ki", 1.0 / 1_048_576.0),
        ("G", 1e9 / GIB),
        ("M", 1e6 / GIB),
        ("k", 1e3 / GIB),
    ];
    const GIB: f64 = 1_073_741_824.0;
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (amount, factor) = unit.unwrap_or((text, 1.0 / GIB));
    amount.parse::<f64>().ok().map(|amount| amount * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_run_v2::model::{Container, ResourceRequirements, WorkerPoolRevisionTemplate, WorkerPoolScaling};

    fn container(limits: &[(&str, &str)]) -> Container {
        let limits = limits.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()));
        Container::new().set_resources(ResourceRequirements::new().set_limits(limits))
    }

    fn pool(containers: [Container; 2]) -> model::WorkerPool {
        let template =
            WorkerPoolRevisionTemplate::new().set_containers(containers).set_gpu_zonal_redundancy_disabled(true);
        let scaling = WorkerPoolScaling::new().set_manual_instance_count(2);
        model::WorkerPool::new().set_template(template).set_scaling(scaling)
    }

    #[test]
    fn an_instance_is_the_sum_of_its_containers() {
        let worker = container(&[("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "1")]);
        let shape = shape_of(&pool([worker, container(&[("cpu", "500m"), ("memory", "512Mi")])])).unwrap();
        let expected = PoolShape { instances: 2, vcpus: 4.5, gib: 16.5, gpus: 1.0, gpus_are_redundant: false };
        assert_eq!(shape, expected);
    }

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        assert_eq!((vcpus("1"), vcpus("1500m"), vcpus("four")), (Some(1.0), Some(1.5), None));
        assert_eq!((gib("16Gi"), gib("1073741824"), gib("much")), (Some(16.0), Some(1.0), None));
        let refused = shape_of(&pool([container(&[("memory", "16 gigs")]), container(&[])])).unwrap_err();
        assert_eq!(refused, "memory is \"16 gigs\", which is no amount");
    }
}
