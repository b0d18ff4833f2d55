"""Frees what worker groups of Ray Train hold whose process was killed while they started.

A placement group lives as long as its job. Train has an actor that removes that of a group whose
controller has died, but tells it of one only once the workers are there.
"""


def free_orphans() -> None:
    """Remove the placement groups of this process's job whose maker, an actor, is dead."""
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Row
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    job = ray.get_runtime_context().get_job_id()
    for row in map(Row.FromString, state._connect_and_get_accessor().get_placement_group_table()):
        if row.creator_job_id.hex() != job or row.state == Row.REMOVED:
            continue
        maker = row.creator_actor_id.hex()  # Tune's own are the driver's, which is no actor
        if maker and state.actor_table(maker).get("State") == "DEAD":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(row.placement_group_id)))
