package io.alluvium.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.Callable;

/** How a measurement ends: with its figures as the last line of stdout, or with its failure on stderr. */
final class Ending {
    private Ending() {}

    static void after(Callable<Figures> measurement) {
        try {
            System.out.println(measurement.call());
        } catch (Exception | Error failure) {
            failure.printStackTrace();
        }
        System.out.flush();
        System.err.flush();
        // A process that has loaded ForSt's library ends neither by itself nor by exit, halt or SIGTERM.
        try {
            new ProcessBuilder("kill", "-KILL", String.valueOf(ProcessHandle.current().pid())).start();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
