# The C library, for Homebrew: brew install --HEAD ./packaging/homebrew/libketama.rb
class Libketama < Formula
  desc "Consistent hashing for memcached fleets"
  homepage "https://github.com/libketama/libketama"
  license "BSD-3-Clause"
  head "https://github.com/libketama/libketama.git", branch: "main"

  def install
    unless OS.mac?
      system "make", "-C", "libketama", "install", "PREFIX=#{prefix}", "MANDIR=#{man}"
      return
    end

    # The Makefile links a shared library for ELF only.
    cd "libketama" do
      system "make", "build/libketama.a", "CC=#{ENV.cc}"
      system ENV.cc, "-dynamiclib", "-install_name", lib/"libketama.1.dylib",
                     "-o", "libketama.1.dylib", *Dir["build/**/*.o"]
      lib.install "libketama.1.dylib", "build/libketama.a"
      lib.install_symlink "libketama.1.dylib" => "libketama.dylib"
      include.install "ketama.h", "ketama_admin.h", "ketama_compat.h", "ketama_health.h"
      man3.install Dir["*.3"]
      man5.install Dir["*.5"]

      inreplace "libketama.pc.in" do |text|
        text.gsub! "@PREFIX@", prefix
        text.gsub! "@LIBDIR@", lib
        text.gsub! "@INCLUDEDIR@", include
        text.gsub! "@VERSION@", File.read("ketama.h")[/^#define KETAMA_VERSION "(.+)"$/, 1]
      end
      (lib/"pkgconfig").install "libketama.pc.in" => "libketama.pc"
    end
  end

  test do
    (testpath/"ketama.servers").write <<~SERVERS
      127.0.0.1:11211 600
      127.0.0.1:11212 400
    SERVERS
    (testpath/"test.c").write <<~C
      #include <ketama.h>
      #include <stdio.h>

      int main(void)
      {
          ketama_continuum c;
          ketama_server server;
          if (ketama_open(&c, "ketama.servers", NULL) != KETAMA_OK)
              return 1;
          if (ketama_server_at(c, ketama_find(c, "test", 4, NULL), &server) != KETAMA_OK)
              return 1;
          puts(server.address);
          return 0;
      }
    C
    system ENV.cc, "test.c", "-I#{include}", "-L#{lib}", "-lketama", "-o", "test"
    assert_equal "127.0.0.1:11211\n", shell_output("./test")
  end
end
