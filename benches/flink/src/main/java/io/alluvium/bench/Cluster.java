package io.alluvium.bench;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.checkpoint.CheckpointStatsSnapshot;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.graph.StreamGraph;

/** A mini cluster with one task manager, the job that runs in it, and waiting for what that does. */
final class Cluster {
    private static final long LOOK_MILLIS = 5;
    /** Asking the cluster costs ten times what looking at a counter does, and is work of the process that is measured. */
    private static final long ASK_MILLIS = 250;
    /** So long the process must have taken less than a fifth of a core. */
    private static final long QUIET_MILLIS = 1000;
    private static final int IDLE_SHARE = 5;

    interface Condition {
        boolean holds();
    }

    private final MiniCluster cluster;
    private JobID job;

    /** One slot a subtask: managed memory is split across slots, and a subtask's backend has what its slot has. */
    Cluster(Configuration configuration, int slots) throws Exception {
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(configuration)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(slots)
                .withRandomPorts()
                .build());
        cluster.start();
    }

    void submit(StreamGraph graph) throws Exception {
        job = cluster.submitJob(graph.getJobGraph()).get().getJobID();
    }

    /** Takes a checkpoint; the future is where it is. */
    CompletableFuture<String> checkpoint() {
        return cluster.triggerCheckpoint(job);
    }

    CheckpointStatsSnapshot checkpoints() throws ExecutionException, InterruptedException {
        return cluster.getExecutionGraph(job).get().getCheckpointStatsSnapshot();
    }

    /** Ends the job, then the cluster. */
    void end() throws Exception {
        cluster.cancelJob(job).get();
        while (!cluster.getJobStatus(job).get().isGloballyTerminalState()) {
            Thread.sleep(LOOK_MILLIS);
        }
        cluster.closeAsync().get();
    }

    /** Waits; what the job fails with meanwhile is thrown. */
    void await(Condition condition) throws Exception {
        long asked = System.nanoTime();
        while (!condition.holds()) {
            Thread.sleep(LOOK_MILLIS);
            if (System.nanoTime() - asked < TimeUnit.MILLISECONDS.toNanos(ASK_MILLIS)) {
                continue;
            }
            asked = System.nanoTime();
            JobStatus status = cluster.getJobStatus(job).get();
            if (status.isTerminalState() || status == JobStatus.FAILING) {
                cluster.requestJobResult(job).get().toJobExecutionResult(Cluster.class.getClassLoader());
                throw new IllegalStateException("the job ended by itself: " + status);
            }
        }
    }

    void pass(long millis) throws Exception {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        await(() -> System.nanoTime() >= end);
    }

    /** Flushes and compactions have ended: they run in this process. */
    void awaitQuiet() throws Exception {
        long cpu;
        do {
            cpu = Figures.cpuNanos();
            pass(QUIET_MILLIS);
        } while ((Figures.cpuNanos() - cpu) * IDLE_SHARE > TimeUnit.MILLISECONDS.toNanos(QUIET_MILLIS));
    }
}
