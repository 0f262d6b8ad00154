%%% ketama_tests_driver.erl - tests drivers that are killed, stopped, slow or silent
-module(ketama_tests_driver).
-export([all/0, announce/1]).

all() ->
    [
        {"a killed driver is an error, and a supervisor restarts the server", fun killed/1},
        {"killed under load, each call gets the right answer or an error", fun killed_under_load/1},
        {"a stopped driver is detected after five seconds, however many wait", fun stopped/1},
        {"the server waits for a slow driver", fun slow/1},
        {"an unrequested answer stops the server", fun unasked/1},
        {"a driver that is silent at the start is killed", fun mute/1},
        {"an application's priv takes precedence over the directory of the beam file", fun priv/1},
        {"the driver is found in PATH if it is nowhere else", fun path/1},
        {"the driver exits with its server, however that ends", fun server_ends/1},
        {"the driver exits with the VM, however that ends", fun vm_ends/1}
    ].

killed(Folder) ->
    {Supervisor, Server, Driver} = supervised(Folder),
    signal("STOP", Driver),
    Callers = callers(50, <<"key">>),
    signal("KILL", Driver),
    [{error, {driver_exited, 137}} = Result || Result <- results(Callers)],
    _ = until(fun() -> element(1, ketama:getserver("key")) end, ok),
    true = whereis(ketama) =/= Server,
    true = driver() =/= Driver,
    _ = gone(Driver),
    end_supervisor(Supervisor).

killed_under_load(Folder) ->
    {Supervisor, _, _} = supervised(Folder),
    Answer = ketama:getserver("key"),
    Asked = counters:new(1, []),
    Callers = [spawn_monitor(fun() -> ask_until_stopped(Asked, #{}) end)
               || _ <- lists:seq(1, 20)],
    Drivers = [begin
        _ = until(fun() -> ketama:getserver("key") end, Answer),
        Driver = driver(),
        Enough = counters:get(Asked, 1) + rand:uniform(500), % kill it at random points
        _ = until(fun() -> counters:get(Asked, 1) >= Enough end, true),
        signal("KILL", Driver),
        gone(Driver)
    end || _ <- lists:seq(1, 30)],
    30 = length(lists:usort(Drivers)),
    [Pid ! enough || {Pid, _} <- Callers],
    Seen = lists:usort(lists:append([maps:keys(Result) || Result <- results(Callers)])),
    [] = Seen -- [Answer, {error, not_running}, {error, {driver_exited, 137}},
                  {error, {driver_exited, epipe}}],
    true = lists:member(Answer, Seen),
    true = lists:member({error, {driver_exited, 137}}, Seen),
    end_supervisor(Supervisor).

ask_until_stopped(Asked, Seen) ->
    receive enough -> exit(Seen)
    after 0 ->
        Result = ketama:getserver("key"),
        counters:add(Asked, 1, 1),
        ask_until_stopped(Asked, Seen#{Result => true})
    end.

%% The requests exceed the capacity of the pipe, so the server itself could block.
stopped(Folder) ->
    {Supervisor, Server, Driver} = supervised(Folder),
    signal("STOP", Driver),
    Begin = erlang:monotonic_time(millisecond),
    Callers = callers(10000, binary:copy(<<"x">>, 200)),
    [{error, {no_answer, 5000}} = Result || Result <- results(Callers)],
    Took = erlang:monotonic_time(millisecond) - Begin,
    true = Took >= 5000,
    _ = gone(Driver),
    _ = until(fun() -> element(1, ketama:getserver("key")) end, ok),
    true = whereis(ketama) =/= Server,
    end_supervisor(Supervisor).

%% The timeout starts when the driver owes an answer, and restarts with each answer. A timer
%% that an earlier request has started may expire at any time in between.
slow(Folder) ->
    {Supervisor, Server, Driver} = supervised(Folder),
    Answer = ketama:getserver("key"),
    [begin
        signal("STOP", Driver),
        Stopped = erlang:monotonic_time(millisecond),
        Callers = callers(2000, binary:copy(<<"x">>, 200)),
        true = heard() >= Stopped,
        expire(),
        Continued = erlang:monotonic_time(millisecond),
        signal("CONT", Driver),
        [{ok, _} = Result || Result <- results(Callers)],
        true = heard() >= Continued
    end || _ <- [1, 2]],
    Answer = ketama:getserver("key"),
    Server = whereis(ketama),
    end_supervisor(Supervisor).

%% The time that the server's timeout counts from.
heard() ->
    {state, _, _, _, Heard, _, _} = sys:get_state(ketama),
    Heard.

%% Lets the server's timer expire now; returns when the server has set another.
expire() ->
    {state, _, _, _, _, Timer, _} = sys:get_state(ketama),
    ketama ! {timeout, Timer, patience},
    {state, _, _, _, _, Next, _} = sys:get_state(ketama),
    true = Next =/= Timer.

unasked(Folder) ->
    Trapped = process_flag(trap_exit, true),
    Go = filename:join(Folder, "go"),
    Wait = "until [ -e " ++ Go ++ " ]; do sleep 0.01; done",
    Script = script(Folder, "twice", "printf '\\001a'; " ++ Wait ++ "; printf '\\001b'; exec sleep 60"),
    {ok, Server} = ketama:start_link(file(Folder), Script),
    ok = file:write_file(Go, ""),
    receive {'EXIT', Server, Reason} -> {driver_failed, unexpected_answer} = Reason end,
    {error, not_running} = ketama:getserver("key"),
    process_flag(trap_exit, Trapped).

mute(Folder) ->
    Pid = filename:join(Folder, "pid"),
    Script = script(Folder, "mute", "echo $$ >" ++ Pid ++ "; exec sleep 60"),
    {error, {no_answer, 5000}} = ketama:start_link(file(Folder), Script),
    {ok, Text} = file:read_file(Pid),
    gone(binary_to_integer(string:trim(Text))).

priv(Folder) ->
    Beside = filename:absname(filename:join(folder(), "ketama_port")),
    Marker = filename:join(Folder, "used"),
    ok = filelib:ensure_dir(filename:join(Folder, "ketama/ebin/x")),
    ok = filelib:ensure_dir(filename:join(Folder, "ketama/priv/x")),
    _ = script(Folder, "ketama/priv/ketama_port", ">" ++ Marker ++ "; exec " ++ Beside ++ " \"$@\""),
    true = code:add_patha(filename:join(Folder, "ketama/ebin")),
    {ok, _} = ketama:start_link(file(Folder)),
    true = code:del_path(filename:join(Folder, "ketama/ebin")),
    true = filelib:is_file(Marker),
    {ok, _} = ketama:getserver("key").

path(Folder) ->
    Beams = filename:join(Folder, "beams"),
    ok = file:make_dir(Beams),
    [{ok, _} = file:copy(filename:join(folder(), Name), filename:join(Beams, Name))
     || Name <- ["ketama.beam", "ketama_tests_driver.beam"]],
    Path = filename:absname(folder()) ++ ":" ++ os:getenv("PATH"),
    {_, Driver} = vm(Beams, file(Folder), [{env, [{"PATH", Path}]}], "halt()"),
    gone(Driver).

server_ends(Folder) ->
    Ends = [
        fun(Server) -> gen_server:stop(Server) end,
        fun(Server) -> exit(Server, shutdown) end, % we are its parent
        fun(Server) -> exit(Server, kill) end,
        fun(Server) -> % this driver does not react to a closed stdin
            signal("STOP", driver()),
            Callers = callers(1, <<"key">>),
            exit(Server, shutdown),
            [{error, shutdown}] = results(Callers)
        end
    ],
    [begin
        {ok, Server} = ketama:start_link(file(Folder)),
        Driver = driver(),
        true = alive(Driver),
        End(Server),
        gone(Driver)
    end || End <- Ends].

vm_ends(Folder) ->
    File = file(Folder),
    [begin
        {Vm, Driver} = vm(folder(), File, [], End),
        End =:= "ok" andalso signal("KILL", Vm),
        gone(Driver),
        gone(Vm)
    end || End <- ["halt()", "init:stop()", "erlang:halt(abort)", "ok"]].

%% Starts another VM with a server; returns the process ids of the VM and its driver.
vm(Beams, File, Options, End) ->
    Code = lists:flatten(io_lib:format("ketama_tests_driver:announce(~p), ~s.", [File, End])),
    Port = open_port({spawn_executable, os:find_executable("erl")},
        [{args, ["-noshell", "-pa", Beams, "-eval", Code]}, {line, 100} | Options]),
    receive {Port, {data, {eol, Line}}} ->
        [Vm, Driver] = string:split(Line, " "),
        true = port_command(Port, "\n"),
        {list_to_integer(Vm), list_to_integer(Driver)}
    end.

announce(File) ->
    {ok, _} = ketama:start_link(File),
    {ok, _} = ketama:getserver("key"),
    io:format("~s ~b~n", [os:getpid(), driver()]),
    "\n" = io:get_line(""). % the VM must not exit before its output is read

%% Tools

supervised(Folder) ->
    {ok, Supervisor} = supervisor:start_link(ketama_tests, file(Folder)),
    {Supervisor, whereis(ketama), driver()}.

end_supervisor(Supervisor) ->
    Driver = driver(),
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, shutdown} -> ok end,
    gone(Driver).

%% Starts callers, and returns when the server has all their requests.
callers(Count, Key) ->
    Callers = [spawn_monitor(fun() -> exit(ketama:getserver(Key)) end)
               || _ <- lists:seq(1, Count)],
    _ = until(fun() -> waiting() >= Count end, true),
    Callers.

results(Callers) ->
    [receive {'DOWN', Monitor, process, _, Result} -> Result end || {_, Monitor} <- Callers].

waiting() ->
    {state, _, Sent, Unsent, _, _, _} = sys:get_state(ketama),
    queue:len(Sent) + queue:len(Unsent).

driver() ->
    {os_pid, Pid} = erlang:port_info(element(2, sys:get_state(ketama)), os_pid),
    Pid.

signal(Name, Pid) ->
    "" = os:cmd(io_lib:format("kill -~s ~b", [Name, Pid])).

%% A zombie counts as alive.
alive(Pid) ->
    os:cmd(io_lib:format("kill -0 ~b 2>/dev/null && echo yes", [Pid])) =/= "".

gone(Pid) ->
    _ = until(fun() -> alive(Pid) end, false),
    Pid.

folder() ->
    filename:dirname(code:which(ketama)).

file(Folder) ->
    File = filename:join(Folder, "ketama.servers"),
    ok = file:write_file(File, "127.0.0.1:11211 600\n127.0.0.1:11212 400\n"),
    File.

script(Folder, Name, Commands) ->
    Script = filename:join(Folder, Name),
    ok = file:write_file(Script, ["#!/bin/sh\n", Commands, "\n"]),
    ok = file:change_mode(Script, 8#755),
    Script.

until(Fun, Expected) ->
    case Fun() of
        Expected -> Expected;
        _ -> timer:sleep(1), until(Fun, Expected)
    end.
