// Command imgbench is what images/bench/run.sh measures: it packs a disk image,
// serves it, and writes it to a target as the netboot agent does.
//
//	imgbench pack [-chunk BYTES] IN.raw DIR     DIR/manifest, DIR/data, DIR/ref.json
//	imgbench write [-readback] [-workers N] URL DIR TARGET
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/write"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "imgbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("pack or write")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	chunk := f.Int("chunk", 0, "largest chunk in bytes")
	readBack := f.Bool("readback", false, "read back and compare")
	workers := f.Int("workers", 0, "ranges at a time")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "pack" && f.NArg() == 2:
		return pack(ctx, f.Arg(0), f.Arg(1), *chunk)
	case args[0] == "write" && f.NArg() == 3:
		return put(ctx, f.Arg(0), f.Arg(1), f.Arg(2), *readBack, *workers)
	}
	return errors.New("pack IN DIR, or write URL DIR TARGET")
}

func pack(ctx context.Context, in, dir string, chunk int) error {
	src, err := os.Open(in)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer out.Close()
	data := bufio.NewWriter(out)
	began := time.Now()
	c, err := format.Pack(ctx, src, data, format.PackOptions{Chunk: chunk})
	if err := errors.Join(err, data.Flush()); err != nil {
		return err
	}
	m := &format.Manifest{Kind: format.Disk, Content: *c, Meta: format.Meta{
		Name: "bench", Version: "1", Arch: runtime.GOARCH, Firmware: "both", ServerKind: "plain", Created: time.Unix(0, 0).UTC(),
	}}
	raw, err := m.Sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		return err
	}
	ref, err := json.Marshal(job.ImageRef{
		Name: "bench:1", ManifestDigest: format.Sum(raw).String(), PublicKeys: []string{format.EncodeKey(m.Key)},
	})
	if err != nil {
		return err
	}
	fmt.Printf("size=%d payload=%d stored=%d chunks=%d pack_s=%.2f\n", m.Size, m.Payload(), m.DataSize(), len(m.Chunks), time.Since(began).Seconds())
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "manifest"), raw, 0o644),
		os.WriteFile(filepath.Join(dir, "ref.json"), ref, 0o644))
}

func put(ctx context.Context, url, dir, target string, readBack bool, workers int) error {
	raw, err := os.ReadFile(filepath.Join(dir, "ref.json"))
	if err != nil {
		return err
	}
	req := write.Request{Target: target, ReadBack: readBack, Workers: workers, Client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true},
	}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := json.Unmarshal(raw, &req.Image); err != nil {
		return err
	}
	req.Image.ManifestURL, req.Image.DataURL = url+"/manifest", url+"/data"
	st, err := write.Write(ctx, req)
	fmt.Printf("%+v\n", st)
	return err
}
