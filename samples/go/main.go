// A small service: one static binary, with its templates, files and data beside it. It runs as a user without a name.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const address = ":8080"

func main() {
	health := flag.Bool("health", false, "ask the running service how it is")
	flag.Parse()
	if *health {
		os.Exit(ask())
	}
	server := &http.Server{Addr: address, Handler: routes()}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-stop
	// Read only now: a run that is never stopped does not see it.
	if words, err := os.ReadFile("data/farewell.txt"); err == nil {
		log.Print(strings.TrimSpace(string(words)))
	} else {
		log.Fatal(err)
	}
	server.Shutdown(context.Background())
}

func ask() int {
	answer, err := http.Get("http://127.0.0.1" + address + "/health")
	if err != nil || answer.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page("index.html"))
	mux.HandleFunc("/report", page("report.html"))
	mux.Handle("/static/", http.StripPrefix("/static/", http.FileServer(http.Dir("static"))))
	mux.HandleFunc("/health", reply(func(*http.Request) (any, error) { return map[string]string{"status": "ok"}, nil }))
	mux.HandleFunc("/zone", reply(zone))
	mux.HandleFunc("/trust", reply(trust))
	mux.HandleFunc("/self", reply(self))
	mux.HandleFunc("/plugins", reply(plugins))
	mux.HandleFunc("/echo", reply(echo))
	return mux
}

// A template is parsed when it is first asked for.
func page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name == "index.html" && r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		parsed, err := template.ParseFiles("templates/layout.html", "templates/"+name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		parsed.Execute(w, map[string]string{"Title": os.Getenv("SERVICE_TITLE"), "Query": r.URL.Query().Get("q")})
	}
}

func reply(handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := handle(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			value = map[string]string{"error": err.Error()}
		}
		json.NewEncoder(w).Encode(value)
	}
}

func zone(r *http.Request) (any, error) {
	location, err := time.LoadLocation(r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	name, offset := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC).In(location).Zone()
	return map[string]any{"zone": name, "offset": offset}, nil
}

func trust(*http.Request) (any, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	return map[string]bool{"authorities": len(pool.Subjects()) > 50}, nil
}

func self(*http.Request) (any, error) {
	name := "none"
	if found, err := user.Current(); err == nil && found.Username != "" {
		name = found.Username
	}
	notice, set := os.LookupEnv("SERVICE_NOTICE")
	return map[string]any{
		"uid": os.Getuid(), "gid": os.Getgid(), "name": name, "notice": fmt.Sprintf("%t/%q", set, notice),
	}, nil
}

// Every file of a folder is a plug-in: nothing names them.
func plugins(*http.Request) (any, error) {
	paths, err := filepath.Glob("data/plugins/*.json")
	if err != nil {
		return nil, err
	}
	sum := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var plugin struct{ Name, Greeting string }
		if err := json.Unmarshal(text, &plugin); err != nil {
			return nil, err
		}
		sum[plugin.Name] = plugin.Greeting
	}
	return sum, nil
}

func echo(r *http.Request) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, err
	}
	return map[string]any{"received": value}, nil
}
