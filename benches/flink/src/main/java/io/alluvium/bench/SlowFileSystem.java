package io.alluvium.bench;

import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.apache.flink.core.fs.ByteBufferReadable;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.FSDataOutputStream;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.FileSystemFactory;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.fs.local.LocalDataInputStream;
import org.apache.flink.core.fs.local.LocalFileSystem;

/**
 * A folder of this machine as an object store behind a link: {@code slow:///folder}, where each request takes {@link
 * #latencyMicros} longer and is counted.
 *
 * <p>A request is what it would be of S3: a read at a position, the first read of a stream that is read on, a file that was
 * written, once, when it is closed, a deletion; a rename is a copy and a deletion. Looking at, listing and making folders take
 * nothing and are not counted, which is in favour of Flink. The link in front of Alluvium's store delays every request.
 */
public final class SlowFileSystem extends LocalFileSystem {
    static final String SCHEME = "slow";
    static volatile long latencyMicros;
    static final Counters requests = new Counters();

    /** Requests since the process began. */
    static final class Counters {
        final LongAdder gets = new LongAdder();
        final LongAdder puts = new LongAdder();
        final LongAdder deletes = new LongAdder();
        final LongAdder bytesRead = new LongAdder();
        final LongAdder bytesWritten = new LongAdder();

        long[] now() {
            return new long[] {gets.sum(), puts.sum(), deletes.sum(), bytesRead.sum(), bytesWritten.sum()};
        }
    }

    @Override
    public URI getUri() {
        return URI.create(SCHEME + ":///");
    }

    @Override
    public boolean isDistributedFS() {
        return true;
    }

    @Override
    public FSDataInputStream open(Path path) throws IOException {
        return new SlowStream((LocalDataInputStream) super.open(path));
    }

    @Override
    public FSDataInputStream open(Path path, int bufferSize) throws IOException {
        return open(path);
    }

    @Override
    public FSDataOutputStream create(Path path, WriteMode mode) throws IOException {
        return new SlowOutput(super.create(path, mode));
    }

    @Override
    public boolean delete(Path path, boolean recursive) throws IOException {
        request(requests.deletes);
        return super.delete(path, recursive);
    }

    @Override
    public boolean rename(Path from, Path to) throws IOException {
        request(requests.puts);
        request(requests.deletes);
        return super.rename(from, to);
    }

    /** What files below a folder hold. */
    static long storedBytes(String folder) throws IOException {
        try (Stream<java.nio.file.Path> all = Files.walk(java.nio.file.Path.of(URI.create(folder).getPath()))) {
            return all.map(java.nio.file.Path::toFile).filter(File::isFile).mapToLong(File::length).sum();
        }
    }

    /** A round trip. */
    private static void request(LongAdder counter) {
        counter.increment();
        long end = System.nanoTime() + TimeUnit.MICROSECONDS.toNanos(latencyMicros);
        for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    /** Without {@link ByteBufferReadable} ForSt reads byte by byte, each by a call of its own. */
    private static final class SlowStream extends FSDataInputStream implements ByteBufferReadable {
        private final LocalDataInputStream stream;
        /** What is read on from here comes with an answer that has begun. */
        private boolean hasBegun;

        SlowStream(LocalDataInputStream stream) {
            this.stream = stream;
        }

        private void begin() {
            if (!hasBegun) {
                request(requests.gets);
                hasBegun = true;
            }
        }

        private static int counted(int bytes) {
            requests.bytesRead.add(Math.max(bytes, 0));
            return bytes;
        }

        @Override
        public int read(long position, ByteBuffer into) throws IOException {
            request(requests.gets);
            return counted(stream.read(position, into));
        }

        @Override
        public int read(ByteBuffer into) throws IOException {
            begin();
            return counted(stream.read(into));
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            begin();
            return counted(stream.read(into, offset, length));
        }

        @Override
        public int read() throws IOException {
            begin();
            int found = stream.read();
            counted(found < 0 ? 0 : 1);
            return found;
        }

        @Override
        public void seek(long position) throws IOException {
            hasBegun &= position == stream.getPos();
            stream.seek(position);
        }

        @Override
        public long getPos() throws IOException {
            return stream.getPos();
        }

        @Override
        public void close() throws IOException {
            stream.close();
        }
    }

    /** What is written is there once it is closed. */
    private static final class SlowOutput extends FSDataOutputStream {
        private final FSDataOutputStream stream;
        private boolean isClosed;

        SlowOutput(FSDataOutputStream stream) {
            this.stream = stream;
        }

        @Override
        public void write(int one) throws IOException {
            stream.write(one);
        }

        @Override
        public void write(byte[] from, int offset, int length) throws IOException {
            stream.write(from, offset, length);
        }

        @Override
        public long getPos() throws IOException {
            return stream.getPos();
        }

        @Override
        public void flush() throws IOException {
            stream.flush();
        }

        @Override
        public void sync() throws IOException {
            stream.sync();
        }

        @Override
        public void close() throws IOException {
            if (!isClosed) {
                isClosed = true;
                requests.bytesWritten.add(stream.getPos());
                stream.close();
                request(requests.puts);
            }
        }
    }

    /** Found by Flink through {@code META-INF/services}. */
    public static final class Factory implements FileSystemFactory {
        @Override
        public String getScheme() {
            return SCHEME;
        }

        @Override
        public FileSystem create(URI uri) {
            return new SlowFileSystem();
        }
    }
}
